"""Step 3: which model learns."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from ftstudio.core.text import clean, one_line
from ftstudio.ui.common.background import Background, Ended, Ticked
from ftstudio.ui.common.pathfield import PathField
from ftstudio.ui.common.paths import is_folder
from ftstudio.ui.recipe.draft import Draft
from ftstudio.ui.recipe.model_facts import Facts, explain, facts
from ftstudio.ui.recipe.panel import About, Drafted, Next, Panel

HELP = (
    "A folder with config.json, tokenizer and .safetensors, or a hub id such as Qwen/Qwen3-0.6B (fetched when it isn't "
    "here yet). demo is the bundled one: tiny, trains in minutes on a CPU."
)


class ModelPanel(Panel):
    """Path or hub id, and what the model's own files tell."""

    NAME, TITLE, KEYS = "model", "Which model learns?", ("model",)
    WHAT = "The base model: it can write already, and is to learn your task on top."
    DEFAULT_CSS = """
    ModelPanel #model-fault { height: auto; color: $error; margin-top: 1; display: none; }
    ModelPanel #model-facts { height: auto; margin-top: 1; }
    """

    def __init__(self, draft: Draft, offers: list[tuple[str, str]]) -> None:
        super().__init__(draft)
        self.background = Background(self)
        self.field = PathField(
            str(draft.get("model") or ""), wanted=is_folder, placeholder="folder, hub id or demo", offers=offers,
            rows=6, id="model-field",
        )  # fmt: skip
        self.looked_at: str | None = None
        self.facts: Facts | None = None

    def compose_fields(self) -> Iterable[Widget]:
        yield self.field
        yield Static("", id="model-fault")
        yield Static("", id="model-facts")

    def entered(self) -> None:
        self.field.input.focus()
        self._look()

    def show(self) -> None:
        self.field.put(str(self.draft.get("model") or ""))
        self._fault(self.draft.faults.get("model", ""))

    def on_path_field_edited(self, event: PathField.Edited) -> None:
        event.stop()
        if event.value != str(self.draft.get("model") or ""):
            self.problem = ""
            self.put("model", event.value or None)

    def on_path_field_chosen(self, event: PathField.Chosen) -> None:
        """Enter reads the model's files; enter again goes on."""
        event.stop()
        if (event.value == self.looked_at and not self.problem) or not event.value:
            self.post_message(Next())
        else:
            self._look(again=True)

    def _look(self, *, again: bool = False) -> None:
        """Read the files of the model named, off the thread."""
        model = str(self.draft.get("model") or "")
        if not model or (model == self.looked_at and not again):
            return
        self.looked_at, self.facts, self.problem = model, None, ""
        self._fault("")
        self.query_one("#model-facts", Static).update(Content(f"▶ reading {one_line(model, 60)} …"))
        self.background.start("model", "reading", lambda _: facts(model), self._found, self._missing)

    def _found(self, found: Facts) -> None:
        self.facts = found
        parts: list[str | tuple[str, str]] = [("✓ ", "bold"), (f"{one_line(self.looked_at or '', 70)}\n", "bold")]
        for name, value in found.lines:
            parts.append(f"  {name:<14}{value}\n")
        parts.append("\nenter goes on")
        self.query_one("#model-facts", Static).update(Content.assemble(*parts))
        self.post_message(Drafted())

    def _missing(self, error: BaseException) -> None:
        self.problem = explain(error)
        self.query_one("#model-facts", Static).update("")
        self._fault(self.problem)
        self.post_message(Drafted())

    def _fault(self, text: str) -> None:
        line = self.query_one("#model-fault", Static)
        text = text or self.problem
        if text == "needed":
            text = self.needed("Name a model. demo is the bundled one.")
        line.update(Content(f"✗ {clean(text, 600)}" if text else ""))
        line.display = bool(text)

    def on_ticked(self, event: Ticked) -> None:
        event.stop()

    def on_ended(self, event: Ended) -> None:
        event.stop()
        self.background.ended(event)

    def on_descendant_focus(self) -> None:
        self.post_message(About(HELP))

    def on_unmount(self) -> None:
        self.background.stop_all()
