"""Language modelling: running text, every token of it learnt. Long texts are parted into windows, none is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from pydantic import Field

from ftstudio.data.dataset import Dataset
from ftstudio.data.encode import IGNORED
from ftstudio.data.example import Example
from ftstudio.data.row_set import Item
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer
from ftstudio.data.view import TokenView, token_view
from ftstudio.tasks.base import Options, Role, Row
from ftstudio.tasks.by_items import ItemTask
from ftstudio.tasks.sft import Sft


class CausalLmOptions(Options):
    """Options of language modelling."""

    stride: float = Field(
        0.0, ge=0, lt=1, description="share of a window that the next one reads again, as context that isn't learnt"
    )


class CausalLm(ItemTask, Sft):
    """Next-token prediction on documents."""

    name = "causal-lm"
    title = "Language modelling (running text)"
    help = (
        "The model learns to go on with a text: every token is trained, document by document, each with its end. "
        "Documents longer than max_length become several windows, so nothing is lost; short ones share a batch and "
        "never see one another. Use it to teach a domain or a language before it is taught a task."
    )
    answers = "how the text goes on"
    example: ClassVar[tuple[tuple[str, str], ...]] = (
        ("text", "It was the best of times, it was the …"),
        ("→", "the next token, again and again"),
    )
    roles = (Role("text", "the documents; all of them is trained", required=True),)
    shapes = ("text",)
    templates = ()
    default_metrics = ("bits_per_byte", "perplexity", "rouge")
    likelihood = True
    options_model = CausalLmOptions

    def written(self, template: Template) -> Template:
        """TEMPLATE as it is: documents have no turns."""
        return template

    # -- rows ------------------------------------------------------------------------------------------------------
    def items(
        self, examples: Sequence[Example], tokenizer: Tokenizer, max_length: int | None
    ) -> list[list[Item] | str]:
        """Documents as windows of MAX_LENGTH tokens. Every token is learnt once, but a document's first."""
        texts = [_text(example) for example in examples]
        return [self._windows(ids, tokenizer, max_length) for ids in tokenizer.encode_batch(texts)]

    def rows_of(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> list[Row]:
        """The windows of one document; `bytes` of each is how much of the text its learnt tokens say, in UTF-8."""
        items = self.items_of(example, tokenizer, max_length)
        end = _ends(_text(example), tokenizer)
        found: list[Row] = []
        at = len(tokenizer.prefix)
        learnt = max(1, at)  # of the framed document, up to where it is read or learnt
        for item in items:
            begin, learnt = learnt, learnt + item.targets
            found.append({**item.row, "bytes": end(learnt - at) - end(begin - at)})
        return found

    def _windows(self, ids: list[int], tokenizer: Tokenizer, max_length: int | None) -> list[Item] | str:
        """IDS of a document, framed by begin and end token, in windows: each begins with the last token (or the last
        share, see `stride`) of the one before it, which it only reads."""
        whole = [*tokenizer.prefix, *ids, *([] if tokenizer.eos_id is None else [tokenizer.eos_id])]
        if not ids or len(whole) < 2:
            return "the text is empty" if not ids else "a single token has nothing to go on from"
        size = len(whole) if max_length is None else max_length
        again = min(size - 1, max(1, round(self.options.stride * size)))
        starts = [0]
        while starts[-1] + size < len(whole):
            starts.append(starts[-1] + size - again)
        found = []
        for start, before in zip(starts, [0, *(start + size for start in starts)], strict=False):
            window = whole[start : start + size]
            known = max(before - start, len(tokenizer.prefix) if start == 0 else 0)  # read before, or a frame
            labels = [IGNORED] * known + window[known:]
            found.append(Item(window, {"labels": labels}, sum(label >= 0 for label in labels[1:])))
        return found

    def view(
        self, dataset: Dataset, row: int, shape: Shape, template: Template, tokenizer: Tokenizer, max_length: int | None
    ) -> TokenView:
        """The whole document: windows lose nothing."""
        return token_view(dataset, row, shape, template, tokenizer, None)


def _text(example: Example) -> str:
    return "".join(turn.content for turn in example.messages)


def _ends(text: str, tokenizer: Tokenizer) -> Callable[[int], int]:
    """How many bytes of TEXT its first tokens hold. Windows decoded one by one would count a character that they cut
    twice, and no blank that begins them."""
    ids, spans = tokenizer.encode_with_offsets(text)

    def end(count: int) -> int:
        if count <= 0 or not ids:
            return 0
        if count >= len(ids):
            return len(text.encode())
        place = spans[count - 1][1]
        return len(text[:place].encode() if place else tokenizer.decode(ids[:count]).rstrip("\ufffd").encode())

    return end
