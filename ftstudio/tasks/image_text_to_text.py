"""Pictures and text to text: vision-language models learn to answer about pictures, to describe or to read them."""

from __future__ import annotations

import copy
import inspect
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ftstudio.data import looked
from ftstudio.data.chat import PICTURE, Segment
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.encode import IGNORED, cut, end_ids, prompt_ids, tokens_of
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.data.example import BadRow, Example
from ftstudio.data.row_set import Item, collect
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer, model_folder
from ftstudio.data.view import TokenView, token_view
from ftstudio.tasks import picture_reader
from ftstudio.tasks.base import Kind, Options, Prompt, Role, Row
from ftstudio.tasks.padding import cross_entropies, padded_inputs, padded_labels, sizes
from ftstudio.tasks.sft import Sft

if TYPE_CHECKING:
    import torch

    from ftstudio.tasks.picture_reader import PictureReader


class ImageTextToText(Sft):
    """Turns with pictures in them → the assistant's text."""

    name = "image-text-to-text"
    title = "Pictures and text → text (vision-language models)"
    help = (
        "The model sees one or several pictures beside a text and learns to write the answer: to describe, to read, to "
        "answer questions about them. Where a picture stands is written <image>; without that mark it stands before "
        "the first question. LoRA goes on the language side unless method.part says vision or both."
    )
    answers = "a text about the pictures"
    example: ClassVar[tuple[tuple[str, str], ...]] = (
        ("image", "shoe.jpg"),
        ("prompt", "What is it?"),
        ("completion", "A red shoe."),
        ("→", "A red shoe."),
    )
    roles: ClassVar[tuple[Role, ...]] = (
        Role("image", "the picture, or a list of pictures: paths or bytes", required=True),
        Role("prompt", "what is asked about it"),
        Role("completion", "what the model learns to write"),
        Role("text", "a description of the picture, instead of prompt and completion"),
        Role("messages", "a column of chat turns, instead of both"),
        Role("system", "a system message that comes first"),
    )
    shapes: ClassVar[tuple[str, ...]] = ("image-text",)
    kind: ClassVar[Kind] = "image-text-to-text"
    usual_length = 2048

    def __init__(self, options: Options | None = None, facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(options, facts)
        self._folders: tuple[Path, ...] = ()  # where pictures with relative paths lie
        self._model = ""

    # -- rows ------------------------------------------------------------------------------------------------------
    def grounded(
        self,
        train: Dataset,
        shape: Shape,
        held_out: Callable[[], Sequence[Example]],
        tokenizer: Tokenizer,
        max_length: int | None,
        seed: int,
        folders: Sequence[Path] = (),
    ) -> Self:
        """This task with the FOLDERS that the data lie in, and with them their pictures."""
        found = copy.copy(self)
        found._folders, found._model = tuple(folders), tokenizer.name
        return found

    def fault(self, example: Example) -> str:
        """Whether it has no answer, or a picture isn't there."""
        try:
            looked.placed(example, len(looked.sources(example, self._folders)))
        except BadRow as error:
            return str(error)
        return super().fault(example)

    def _written(
        self, example: Example, template: Template, tokenizer: Tokenizer, folders: Sequence[Path], ask: bool = False
    ) -> tuple[list[Segment], list[str | bytes]]:
        """The segments of EXAMPLE with each picture's tokens in place of its mark, and its pictures. Raises BadRow."""
        reader = self._reader(tokenizer)
        pictures = looked.sources(example, folders)
        whole = self.written(template).segments(looked.placed(example, len(pictures)), for_generation=ask)
        mark = reader.mark
        if not any(mark in segment.text for segment in whole):  # a template that knows nothing of pictures
            whole = [Segment(segment.text.replace(PICTURE, mark), segment.trained) for segment in whole]
        marks = sum(segment.text.count(mark) for segment in whole)
        if marks > len(pictures) or (marks < len(pictures) and not ask):
            raise BadRow(f"the template writes {marks} marks for {len(pictures)} pictures")
        tokens = iter([reader.tokens_of(picture) for picture in pictures[:marks]])
        ends = {tokenizer.backend.piece(token) for token in end_ids(template, tokenizer)}
        special = [text for text in tokenizer.end_texts if text not in ends]
        found = []
        for segment in whole:
            first, *rest = segment.text.split(mark)
            if not segment.trained:
                found.append(Segment(first + "".join(next(tokens) + text for text in rest), False))
                continue
            for text in rest:  # a picture in an answer is read, never written; nor are the tokens that frame it
                first, before = _frame(first, special, str.endswith)
                text, after = _frame(text, special, str.startswith)
                found += [Segment(first, True), Segment(before + next(tokens) + after, False)]
                first = text
            found.append(Segment(first, True))
        return [segment for segment in found if segment.text], pictures[:marks]

    def _reader(self, tokenizer: Tokenizer) -> PictureReader:
        return picture_reader.reader_of(model_folder(tokenizer.name)[0])

    def _item(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None,
        folders: Sequence[Path],
    ) -> Item:  # fmt: skip
        reader = self._reader(tokenizer)
        segments, pictures = self._written(example, template, tokenizer, folders)
        tokens = next(tokens_of([segments], template, tokenizer))
        found = cut(tokens, frozenset(end_ids(template, tokenizer)), max_length)
        if any(token in reader.ids for token in found.lost_ids):
            raise BadRow(
                f"its {len(pictures)} {'picture' if len(pictures) == 1 else 'pictures'} and text take {found.total} "
                f"tokens, and a picture can't be cut (data.max_length is {max_length})"
            )
        if not found.trained:
            raise BadRow("all labels are masked: there is nothing to learn")
        more = {"labels": found.labels, "pictures": pictures}
        return Item(found.input_ids, more, found.trained, found.lost, found.lost_completion)

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
        """All rows as ids and labels; every picture is read once here, so that a broken one is told before training."""
        folders = self._folders or ((dataset.path.parent,) if dataset.path is not None else ())

        def make(examples: list[Example]) -> list[list[Item] | str]:
            found: list[list[Item] | str] = []
            for example in examples:
                try:
                    found.append([self._item(example, template, tokenizer, max_length, folders)])
                except BadRow as error:
                    found.append(str(error))
            return found

        return collect(dataset, shape, make, progress=progress, cancel=cancel)

    def rows_of(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> list[Row]:
        """One row."""
        return [self._item(example, template, tokenizer, max_length, self._folders).row]

    def prompt(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> Prompt:
        """The turns up to the last answer, with their pictures; that answer is the reference."""
        segments, pictures = self._written(example, template, tokenizer, self._folders, ask=True)
        ids = prompt_ids(segments, template, tokenizer)
        row = {"input_ids": ids, "labels": [IGNORED] * len(ids), "pictures": pictures}
        return Prompt(ids, example.prompt, self.wanted(example, template, tokenizer), row, looked.state(pictures))

    def view(
        self, dataset: Dataset, row: int, shape: Shape, template: Template, tokenizer: Tokenizer, max_length: int | None
    ) -> TokenView:
        """The turns in tokens, with a mark for each picture: how many tokens it takes only the model's processor
        knows."""
        found = token_view(dataset, row, shape, self.written(template), tokenizer, None)
        folders = self._folders or ((dataset.path.parent,) if dataset.path is not None else ())
        try:
            count = len(looked.sources(shape.example(dataset[row]), folders))
        except BadRow as error:
            return replace(found, pieces=(), problem=str(error))
        return replace(found, note=f"{count} {'picture' if count == 1 else 'pictures'}, which take tokens of their own")

    # -- batches ---------------------------------------------------------------------------------------------------
    def collate(self, rows: Sequence[Row], pad_id: int, multiple: int = 1) -> dict[str, Any]:
        """`inputs`: padded ids and mask, the `pictures` of each row as tensors, `following` [rows, width]: the token
        to be written after each place, -100 where none is learnt. `targets`: the same."""
        reader = picture_reader.reader_of(model_folder(self._model)[0])
        inputs = padded_inputs(rows, pad_id, multiple)
        width = inputs["input_ids"].shape[1]
        labels = padded_labels(rows, width)
        following = labels.roll(-1, 1)
        following[:, -1] = IGNORED
        for name in reader.types:
            inputs[name] = padded_inputs([{"input_ids": reader.kinds(row["input_ids"])} for row in rows], 0, multiple)[
                "input_ids"
            ]
        pictures = [reader.pixels(row.get("pictures") or ()) for row in rows]
        return {"inputs": {**inputs, "pictures": pictures, "following": following}, "targets": following, **sizes(rows)}

    def outputs(self, model: Any, inputs: Mapping[str, Any]) -> Any:
        """The logits [rows, k, vocabulary] at the k places where any row of the batch learns."""
        given = {name: value for name, value in inputs.items() if name not in ("pictures", "following")}
        places = _places(inputs["following"])
        keeps = "logits_to_keep" in inspect.signature(_inner(model).forward).parameters
        found = model(
            **given, **picture_reader.joined(inputs["pictures"]), **({"logits_to_keep": places} if keeps else {}),
            use_cache=False,
        )  # fmt: skip
        if found.logits.shape[1] != len(places):
            found.logits = found.logits[:, places]
        return found

    def losses(self, outputs: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        """Cross-entropy of the tokens that are to be written, [rows, places where any row has one]."""
        targets = batch["targets"]
        return cross_entropies(outputs.logits, targets[:, _places(targets)])

    def beside(self, prompts: Sequence[Prompt], width: int) -> dict[str, Any]:
        """The pictures of PROMPTS, and which of their tokens, padded on the left to WIDTH, stand for them."""
        import torch

        reader = picture_reader.reader_of(model_folder(self._model)[0])
        found: dict[str, Any] = picture_reader.joined(
            [reader.pixels((prompt.row or {}).get("pictures") or ()) for prompt in prompts]
        )
        for name in reader.types:
            kinds = [[0] * (width - len(prompt.ids)) + reader.kinds(prompt.ids) for prompt in prompts]
            found[name] = torch.tensor(kinds)
        return found

    def finish(self, model: Any, folder: Path) -> None:
        """The processor's files, so that transformers' AutoProcessor loads from FOLDER too."""
        source = model_folder(self._model)[0]
        for name in picture_reader.FILES:
            if (source / name).is_file() and not (folder / name).exists():
                shutil.copyfile(source / name, folder / name)


def _frame(text: str, special: Sequence[str], at: Callable[[str, str], bool]) -> tuple[str, str]:
    """(TEXT without, the SPECIAL tokens that stand AT its end or start): what a template writes around a picture."""
    rest, found = text, ""
    while (token := next((one for one in special if one and at(rest, one)), None)) is not None:
        if at is str.endswith:
            rest, found = rest[: -len(token)], token + found
        else:
            rest, found = rest[len(token) :], found + token
    return rest, found


def _places(following: Any) -> Any:
    """The places of a batch after which any row learns a token; the last one where none does."""
    found = (following != IGNORED).any(0).nonzero().squeeze(1)
    return found if len(found) else found.new_tensor([following.shape[1] - 1])


def _inner(model: Any) -> Any:
    model = getattr(model, "module", model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model
