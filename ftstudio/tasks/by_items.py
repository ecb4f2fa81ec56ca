"""Tasks whose rows are made some examples at a time, with no other template than the task's own way of reading them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.data.example import BadRow, Example
from ftstudio.data.row_set import Item, RowSet, collect
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer
from ftstudio.tasks.base import Row, Task


class ItemTask(Task):
    """A task that says with `items` what it makes of examples; all else of reading a dataset is done here."""

    @abstractmethod
    def items(
        self, examples: Sequence[Example], tokenizer: Tokenizer, max_length: int | None
    ) -> list[list[Item] | str]:
        """For each of EXAMPLES its rows of MAX_LENGTH tokens at most, or a sentence why it can't be used."""

    def empty_set(self, tokenizer: Tokenizer) -> RowSet:
        """The set that rows go into."""
        return RowSet()

    def encode_dataset(
        self,
        dataset: Dataset,
        shape: Shape,
        template: Template,
        tokenizer: Tokenizer,
        max_length: int | None = None,
        *,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> EncodedSet:
        """All rows of DATASET, of which it learns first what it must know (`survey`) unless it is bound to it."""
        facts = {} if self.facts else self.survey(dataset, shape, cancel=cancel)
        task = self.bound(self.options.model_dump(), facts) if facts else self
        return collect(
            dataset,
            shape,
            lambda examples: task.items(examples, tokenizer, max_length),
            progress=progress,
            cancel=cancel,
            into=task.empty_set(tokenizer),
        )

    def rows_of(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> list[Row]:
        """The rows of EXAMPLE as training sees them."""
        return [item.row for item in self.items_of(example, tokenizer, max_length)]

    def items_of(self, example: Example, tokenizer: Tokenizer, max_length: int | None) -> list[Item]:
        """The items of one EXAMPLE. Raises BadRow."""
        [items] = self.items([example], tokenizer, max_length)
        if isinstance(items, str):
            raise BadRow(items)
        return items
