"""Step 3: which model learns, how it goes with task and rows, its parts, and what of it is changed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from textual.containers import Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from ftstudio.core.text import clean, one_line
from ftstudio.engine import known_model
from ftstudio.engine.known_model import Parts
from ftstudio.engine.suits import Sentence
from ftstudio.ui.common.background import Background, Ended, Ticked
from ftstudio.ui.common.fields import FieldRow
from ftstudio.ui.common.pathfield import PathField
from ftstudio.ui.common.paths import is_folder
from ftstudio.ui.recipe.draft import Draft
from ftstudio.ui.recipe.forms import ARCHITECTURE
from ftstudio.ui.recipe.method_table import short, tree_lines
from ftstudio.ui.recipe.panel import About, Drafted, Next, Panel, explain
from ftstudio.ui.recipe.step_settings import Fold
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.marked import wrap
from ftstudio.ui.text.said import Said

HELP = (
    "A folder with config.json, tokenizer and .safetensors, or a hub id such as {} (fetched when it isn't here yet). "
    "What you type also searches the models of your runs and of the hub's cache here; ↓ goes into the list."
)
USUAL = "Qwen/Qwen3-0.6B"
FITTING = {  # what else a task wants, and one of the hub's
    "masked-lm": ("an encoder", "google-bert/bert-base-uncased"),
    "token-classification": ("best an encoder", "answerdotai/ModernBERT-base"),
    "text-classification": ("best an encoder", "answerdotai/ModernBERT-base"),
    "few-shot-classification": ("best a sentence encoder", "sentence-transformers/all-MiniLM-L6-v2"),
    "embedding": ("best a sentence encoder", "sentence-transformers/all-MiniLM-L6-v2"),
    "seq2seq": ("an encoder-decoder", "google-t5/t5-small"),
    "image-text-to-text": ("a vision-language model", "HuggingFaceTB/SmolVLM-256M-Instruct"),
}
SIGNS = {"good": ("✓ ", "good"), "warn": ("! ", "warn"), "bad": ("✗ ", "bad"), "note": ("· ", "dim")}
AFTER = 0.4  # seconds after the last change that the parts are counted again
TYPED = 0.6  # seconds after the last key that a folder typed is looked at


def sentence_lines(sentences: Sequence[Sentence], width: int) -> list[Line]:
    """SENTENCES, each behind its sign, wrapped to WIDTH cells."""
    lines: list[Line] = []
    for said in sentences:
        text = clean(said.text, 400)
        for place, (start, stop) in enumerate(wrap(text, max(20, width - 2))):
            lines.append((SIGNS[said.sign] if not place else ("  ", ""), (text[start:stop], "")))
    return lines


class ModelPanel(Panel):
    """Path or hub id; what the model's own files and its class tell; its parts; changes to it."""

    NAME, TITLE, KEYS = "model", "Which model learns?", ("model", "architecture")
    WHAT = "The base model: what it was trained for before stays, and it learns your task on top."
    DEFAULT_CSS = """
    ModelPanel #model-fault { height: auto; color: $error; margin-top: 1; display: none; }
    ModelPanel #model-facts { margin-top: 1; }
    ModelPanel #model-tree { height: auto; display: none; }
    ModelPanel #model-changes { height: auto; display: none; }
    """

    def __init__(self, draft: Draft, offers: list[tuple[str, str]]) -> None:
        super().__init__(draft)
        self.background = Background(self)
        self.field = PathField(
            str(draft.get("model") or ""), wanted=is_folder, placeholder="folder, hub id or demo", offers=offers,
            rows=6, id="model-field",
        )  # fmt: skip
        self.tree_fold = Fold("the model's parts, and what learns")
        self.change_fold = Fold("change the model: new tokens, fewer layers, new head")
        self.looked_at: tuple[str, str, int] | None = None
        self.texts: tuple[str, ...] = ()  # some rows, where the data step has read them
        self.sentences: tuple[Sentence, ...] = ()
        self.parts: Parts | None = None
        self._soon: Timer | None = None
        self._counted: object = None  # what the parts were counted for

    def compose_fields(self) -> Iterable[Widget]:
        yield self.field
        yield Static("", id="model-fault")
        yield Said(grow=True, id="model-facts")
        yield self.tree_fold
        yield Static("", id="model-tree")
        yield self.change_fold
        yield Vertical(id="model-changes")

    def entered(self) -> None:
        self.field.input.focus()
        self._look()
        if self.draft.get("architecture") and not self.change_fold.open:
            self.change_fold.action_fold()

    def show(self) -> None:
        self.field.put(str(self.draft.get("model") or ""))
        self._fault(self.draft.faults.get("model", ""))
        for row in self.query(FieldRow):
            row.put(self.draft.get(row.spec.key))
            row.fault(self.draft.faults.get(row.spec.key, ""))
        if self.display and self.sentences:
            self._count(AFTER)

    def on_path_field_edited(self, event: PathField.Edited) -> None:
        event.stop()
        if event.value != str(self.draft.get("model") or ""):
            self.problem = ""
            self.put("model", event.value or None)
            if self._soon is not None:
                self._soon.stop()
            self._soon = self.set_timer(TYPED, self._typed)

    def _typed(self) -> None:
        """What stands there is of the model that was named before: read a folder that is one, else say how."""
        model = str(self.draft.get("model") or "")
        if not model or (self.looked_at is not None and self.looked_at[0] == model):
            return
        if (Path(model).expanduser() / "config.json").is_file():
            self._look()
            return
        self.background.stop("model")
        self.background.stop("parts")
        self.looked_at, self.sentences, self.parts = None, (), None
        self._say((("enter reads it", "dim"),))
        self._draw_tree()

    def on_path_field_chosen(self, event: PathField.Chosen) -> None:
        """Enter reads the model's files; enter again goes on."""
        event.stop()
        looked = self.looked_at[:2] if self.looked_at else None
        if (looked == (event.value, self._task_named) and not self.problem) or not event.value:
            self.post_message(Next())
        else:
            self._look(again=True)

    # -- what the model is -------------------------------------------------------------------------------------------
    @property
    def _task_named(self) -> str:
        return self.draft.recipe.task if self.draft.recipe is not None else str(self.draft.get("task") or "sft")

    def _look(self, *, again: bool = False) -> None:
        """Read the files of the model named, off the thread."""
        model, task = str(self.draft.get("model") or ""), self._task_named
        key = (model, task, hash(self.texts))
        if not model or (key == self.looked_at and not again):
            return
        self.looked_at, self.sentences, self.parts, self.problem = key, (), None, ""
        self._counted = None
        self._fault("")
        self._say((("▶ ", "good"), (f"reading {one_line(model, 60)} …", "")))
        texts = self.texts
        self.background.start(
            "model", "reading", lambda _: known_model.first(model, task, texts), self._found, self._missing
        )

    def _found(self, found: tuple[Sentence, ...]) -> None:
        self.sentences = found
        self._tell()
        self._count()
        self.post_message(Drafted())

    def _missing(self, error: BaseException) -> None:
        self.problem = explain(error)
        self._say()
        self._fault(self.problem)
        self.post_message(Drafted())

    def _count(self, after: float = 0.0) -> None:
        """Build the model from its config.json, off the thread, with method and changes of now."""
        recipe = known_model.sketch(self.draft.plain())
        key = None if recipe is None else (recipe.model, recipe.task, recipe.method, recipe.architecture)
        if recipe is None or key == self._counted:
            return
        self._counted = key

        def run(_: object) -> Parts:
            time.sleep(after)  # someone may still be typing: a new count stops this one
            return known_model.bare(recipe) if self.parts is None else known_model.parts(recipe)

        def built(found: Parts) -> None:
            self.parts = found
            self._tell()
            if found.trainable is None and not found.problem:  # first the parts, then what of them learns
                self.background.start("parts", "counting", lambda _: known_model.parts(recipe), built, self._missing)

        self.background.start("parts", "counting", run, built, self._missing)

    def _tell(self) -> None:
        width = max(30, self.size.width - 2)
        lines: list[Line] = [(("✓ ", "good"), (one_line(self.looked_at[0] if self.looked_at else "", 70), "strong"))]
        more = self.parts.sentences if self.parts is not None else ()
        lines += sentence_lines([*self.sentences, *more], width)
        if self.parts is None:
            lines.append((("▶ ", "good"), ("building it from its config.json …", "dim")))
        elif self.parts.problem:
            lines += sentence_lines([Sentence("parts", self.parts.problem, "bad")], width)
        self._say(*lines)
        self._draw_tree()

    def _say(self, *lines: Line) -> None:
        self.query_one("#model-facts", Said).say(*lines)

    def _draw_tree(self) -> None:
        tree = self.query_one("#model-tree", Static)
        tree.display = self.tree_fold.open
        if not self.tree_fold.open:
            return
        if self.parts is None or not self.parts.tree:
            tree.update(Content("Known once the model is."))
            return
        learn = "…" if self.parts.trainable is None else short(self.parts.trainable)
        head = f"{short(self.parts.total)} weights, {learn} learn with {known_model.method_name(self.draft.plain())}:"
        head += "  ● all  ◐ some  · none"
        lines = tree_lines(self.parts.tree, max(40, self.size.width - 3))
        tree.update(Content("\n".join([head, *(clean(line, 200) for line in lines)])))

    async def on_fold_toggled(self, event: Fold.Toggled) -> None:
        event.stop()
        if self.change_fold.open:
            changes = self.query_one("#model-changes", Vertical)
            if not changes.children:  # made when they are first looked at
                await changes.mount(*(FieldRow(spec, self.draft.get(spec.key)) for spec in ARCHITECTURE))
                self.show()
        self.query_one("#model-changes").display = self.change_fold.open
        self._draw_tree()
        fold = next((fold for fold in (self.tree_fold, self.change_fold) if fold.has_focus), None)
        if fold is not None and fold.open:
            # once what it opens has its height
            self.set_timer(0.05, lambda: fold.scroll_visible(top=True, animate=False))

    def _fault(self, text: str) -> None:
        line = self.query_one("#model-fault", Static)
        text = text or self.problem
        if text == "needed":
            kind, one = FITTING.get(self._task_named, ("", ""))
            like = f": {kind}, such as {one}." if kind else ". demo is the bundled one."
            text = self.needed(f"Name a model{like}")
        line.update(Content(f"✗ {clean(text, 600)}" if text else ""))
        line.display = bool(text)

    def on_ticked(self, event: Ticked) -> None:
        event.stop()

    def on_ended(self, event: Ended) -> None:
        event.stop()
        self.background.ended(event)

    def on_resize(self) -> None:
        if self.sentences:
            self.call_after_refresh(self._tell)

    def on_descendant_focus(self) -> None:
        if self.field.has_focus_within:
            self.post_message(About(HELP.format(FITTING.get(self._task_named, ("", USUAL))[1])))
        elif self.tree_fold.has_focus:
            self.post_message(About("The parts of the model, how many weights each has, and how many of them learn."))
        elif self.change_fold.has_focus:
            self.post_message(About("Rarely needed: what is changed in the model before it learns. The base arm of a "
                                    "comparison stays as it is. space opens."))  # fmt: skip
        else:
            super().on_descendant_focus()

    def on_unmount(self) -> None:
        self.background.stop_all()
