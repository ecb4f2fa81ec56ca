"""Chat: both arms answer what one types, streaming into two panes; a turn can be kept as a row to evaluate on."""

from __future__ import annotations

from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.widgets import Input

from ftstudio.core import chatlog
from ftstudio.core.chatlog import ChatSettings, ChatTurn, Conversation
from ftstudio.core.folder import JobFolder
from ftstudio.core.jobs import Chat
from ftstudio.core.run import RunFolder
from ftstudio.core.text import one_line
from ftstudio.core.workspace import slug
from ftstudio.data.example import Turn
from ftstudio.data.from_chat import keep
from ftstudio.data.versions.edit import me
from ftstudio.ui.compare.arms import BASE, Arms
from ftstudio.ui.compare.chat.settings import SettingsDialog
from ftstudio.ui.compare.chat.transcript import Transcript
from ftstudio.ui.compare.choose import Choose
from ftstudio.ui.errors.editing import EditText
from ftstudio.ui.shell.actions import Action, bindings
from ftstudio.ui.shell.screen import StudioScreen
from ftstudio.ui.text.copying import copy, shown
from ftstudio.ui.text.following import Following, pending, queued_behind
from ftstudio.ui.text.lines import Line, Part
from ftstudio.ui.text.safe import SafeInput
from ftstudio.ui.text.said import Said, fitting

SEND = Action("enter", "send", "send", "both answer what you typed")
SETTINGS = Action(
    "ctrl+t", "settings", "settings", "temperature, tokens, seed, system message, template", priority=True
)
KEEP = Action("ctrl+r", "keep", "keep", "keep the last turn with its right answer, as a row to evaluate on")
LONG = Action("ctrl+l", "long", "long text", "type a text of several lines")
NEW = Action("ctrl+n", "new", "new", "begin a new conversation; this one is kept")
EARLIER = Action("ctrl+o", "earlier", "earlier", "another conversation with these models")
COPY = Action("ctrl+y", "copy", "copy", "copy the conversation (clipboard and a file)")
RECALL = Action("up", "recall(-1)", "", "what you typed before, to be changed and sent again", name="recall")
FORTH = Action("down", "recall(1)", "", "what you typed after that", name="forth")
PAGE_UP = Action("pageup", "page(-1)", "", "scroll the answers up", name="scroll up")
PAGE_DOWN = Action("pagedown", "page(1)", "", "scroll the answers down", name="scroll down")
STOP = Action("escape", "back", "stop", "stop the answer that is being written; what is there is kept")
BACK = Action("escape", "back", "back", "back to the comparison; the conversation is kept")
REST = (SETTINGS, KEEP, NEW, LONG, EARLIER, COPY, RECALL, FORTH, PAGE_UP, PAGE_DOWN)


LEAST_TOKENS = 128  # an answer may have to begin with


class ChatLine(SafeInput):
    """Where one types; the cursor doesn't blink. ↑ and ↓ are the screen's."""

    def __init__(self) -> None:
        super().__init__(placeholder="type something; enter sends it to both", compact=True, id="chat-line")
        self.cursor_blink = False


class ChatScreen(StudioScreen):
    """A conversation with the base model and a tuned one, or with two tuned ones of the same base."""

    MODE = "compare"
    TITLE_TEXT = "Chat: both models answer what you type"
    HELP = """
What you type is put to both models, one after the other, from one copy of the weights. Each goes on with its own \
answers; an encoder-decoder (seq2seq) has no memory: it reads each text by itself. The text is written as the \
model's chat template says where it has one, else as in training.

Everything is kept in the run's folder. ctrl+r keeps the last turn as a row with the answer that is right: such rows \
make a test of your own (data.eval in a recipe), or training rows.
"""
    ACTIONS = (SEND, *REST, BACK)
    BINDINGS = bindings(*(SETTINGS, KEEP, NEW, LONG, EARLIER, COPY, RECALL, FORTH, PAGE_UP, PAGE_DOWN, BACK))
    DEFAULT_CSS = """
    ChatScreen #chat-head { height: 2; }
    ChatScreen #chat-panes { height: 1fr; layout: horizontal; }
    ChatScreen.-narrow #chat-panes { layout: vertical; }
    ChatScreen #chat-panes Transcript.-second { margin-left: 2; }
    ChatScreen.-narrow #chat-panes Transcript.-second { margin-left: 0; }
    ChatScreen #chat-line { border-left: none; background: $surface; height: 1; }
    """

    def __init__(self, arms: Arms) -> None:
        super().__init__()
        self.arms = arms
        self.names, self.runs = _arms_of(arms)
        self.settings = _usual(arms)
        self.place = arms.run.chats
        known = chatlog.conversations(self.place)
        self._open(known[-1] if known else self.place / "1")
        self._recalled: int | None = None
        self._unsent = ""  # a text that could not be sent
        self._drawn: object = None

    def _open(self, folder: Path) -> None:
        """Look at the conversation in FOLDER."""
        self.conversation = Conversation(folder)
        self.following = Following(JobFolder(folder))
        while self.conversation.poll():
            pass
        if self.turns:
            self.settings = self.turns[-1].settings

    def compose_body(self) -> ComposeResult:
        yield Said(id="chat-head")
        with Container(id="chat-panes"):
            for place, name in enumerate(self.names):
                pane = Transcript(name, self.arms.label(name), id=f"chat-{place}")
                pane.set_class(place > 0, "-second")
                yield pane
        yield ChatLine()

    def on_mount(self) -> None:
        self.query_one(ChatLine).focus()
        self._show()

    # -- showing -------------------------------------------------------------------------------------------------------
    @property
    def turns(self) -> list[ChatTurn]:
        """The conversation so far."""
        return self.conversation.turns

    @property
    def busy(self) -> bool:
        """Whether an answer is being written or waits for the worker."""
        return self.following.running or pending(self.session, self.conversation.folder)

    def pull(self) -> None:
        if not self.is_mounted:
            return
        came = self.conversation.poll()
        came = self.following.poll() or came
        state = self._state()
        if came or state != self._drawn:
            self._drawn = state
            self._show()

    def current_actions(self) -> tuple[Action, ...]:
        return (STOP, *REST) if self.busy else (SEND, BACK, *REST)

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        width = self.app.size.width - 3
        number = self.conversation.folder.name
        head: list[Part] = [("Chat", "title"), (f" {number} · {self.settings.words()}", "dim")]
        if self.settings.system.strip():
            head.append((f" · system: {one_line(self.settings.system, 60)}", "dim"))
        self.query_one("#chat-head", Said).say(fitting(head, width), fitting(self._state(), width))
        for pane in self.query(Transcript):
            last = self.turns[-1].replies.get(pane.arm) if self.turns else None
            state = ""
            if last is not None and not last.done and self.busy:
                state = f"{last.tokens:,} tokens" + (f" · {last.rate:,.0f} tok/s" if last.rate else "")
            pane.show(self.turns, state)

    def _state(self) -> Line:
        """What is being done, in a line."""
        behind = queued_behind(self.session, self.conversation.folder)
        if behind:
            return (("… waits behind ", "warn"), (one_line(behind, 60), ""), ("   esc takes it back", "dim"))
        if self.busy:
            phase = one_line(self.following.phase.get("phase") or "starting", 30)
            text = one_line(self.following.phase.get("text"), 40)
            return (("▶ ", "good"), (phase, "strong"), (f" · {text}" if text else "", "dim"), ("   esc stops", "dim"))
        failed = self.following.failure
        if failed is not None:
            hint = one_line(failed.get("hint"), 120)
            return ((f"✗ {one_line(failed.get('text'), 200)}", "bad"), (f" {hint}" if hint else "", ""))
        if self.following.alerts:
            return ((f"! {self.following.alerts[-1]}", "warn"),)
        if self.turns:
            return (("enter sends · ↑ what you typed before · ctrl+r keeps the last turn as a row", "dim"),)
        return (("Nothing was said yet: type, and both answer.", "dim"),)

    # -- talking -------------------------------------------------------------------------------------------------------
    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._send(event.value)

    def action_send(self) -> None:
        """Send what stands in the line."""
        self._send(self.query_one(ChatLine).value)

    def _send(self, text: str) -> bool:
        """Put TEXT to both models. False where that can't be; the text is then still to be kept."""
        if not text.strip():
            return True
        if self.busy:
            self.studio.tell("An answer is being written: esc stops it.")
            return False

        def ask() -> None:
            self.conversation.ask(text, tuple(self.names), self.settings, me())
            self.session.submit(Chat(self.conversation.folder, tuple(run.path for run in self.runs)))

        if not self.attempt(ask):
            return False
        line = self.query_one(ChatLine)
        line.value = self._unsent = ""
        self._recalled = None
        for pane in self.query(Transcript):
            pane.action_edge(1)
        self.pull()
        self.refresh_shell()
        return True

    def action_recall(self, by: int) -> None:
        """What was typed before, or after that."""
        said = [turn.text for turn in self.turns]
        if not said:
            return
        here = len(said) if self._recalled is None else self._recalled
        place = max(0, min(here + by, len(said)))
        self._recalled = place if place < len(said) else None
        line = self.query_one(ChatLine)
        line.value = one_line(said[place], 100_000) if place < len(said) else ""
        line.cursor_position = len(line.value)

    def action_long(self) -> None:
        """A text of several lines."""

        def typed(text: str | None) -> None:
            if text is not None and not self._send(text):
                self._unsent = text
                self.studio.tell("Your text is kept: ctrl+l opens it again.")

        self.app.push_screen(
            EditText("What do you want to say?", self._unsent or self.query_one(ChatLine).value), typed
        )

    def action_page(self, by: int) -> None:
        """Scroll both sides."""
        for pane in self.query(Transcript):
            pane.action_page(by)

    def action_settings(self) -> None:
        """How the next turn is asked."""

        def chosen(settings: ChatSettings | None) -> None:
            if settings is not None:
                self.settings = settings
                self._show()

        self.app.push_screen(SettingsDialog(self.settings), chosen)

    def action_new(self) -> None:
        """A new conversation."""
        if self.busy:
            self.studio.tell("An answer is being written: esc stops it.")
        elif self.turns:
            known = chatlog.conversations(self.place)
            settings = self.settings
            self._open(self.place / str(int(known[-1].name) + 1 if known else 1))
            self.settings = settings
            self._show()
            self.refresh_shell()

    def action_earlier(self) -> None:
        """Another conversation."""
        known = chatlog.conversations(self.place)
        if self.busy or not known:
            self.studio.tell("An answer is being written: esc stops it." if known else "This is the first one.")
            return

        def chosen(place: int | None) -> None:
            if place is not None:
                self._open(known[place])
                self._show()

        entries = [(one_line(chatlog.about(path), 60) or "(empty)", (path.name, "dim")) for path in known]
        here = next((place for place, path in enumerate(known) if path == self.conversation.folder), len(known) - 1)
        self.app.push_screen(Choose("Which conversation?", entries, here, heads=("begins with", "no.")), chosen)

    def action_copy(self) -> None:
        """The conversation on the clipboard and in a file."""
        texts = []
        for turn in self.turns:
            texts.append(f"--- you\n{turn.text}")
            texts += [f"--- {self.arms.label(name)}\n{reply.text}" for name, reply in turn.replies.items()]
        if texts:
            self.attempt(lambda: copy(self.studio, "\n\n".join(texts) + "\n", self.session.workspace.path))

    # -- keeping -------------------------------------------------------------------------------------------------------
    def action_keep(self) -> None:
        """Keep the last turn as a row."""
        turn = self.turns[-1] if self.turns else None
        if turn is None or self.busy:
            self.studio.tell("Say something first." if turn is None else "An answer is being written: esc stops it.")
            return
        given = [(name, turn.replies[name].text) for name in self.names if name in turn.replies]
        entries: list[tuple[str, Part]] = [
            (f"what {self.arms.label(name)} answered", (one_line(text, 44) or "(empty)", "dim")) for name, text in given
        ]
        entries.append(("another: I write it", ("", "")))

        def chosen(place: int | None) -> None:
            if place is None:
                return
            if place < len(given):
                self._keep(turn, given[place][1])
                return
            self.app.push_screen(
                EditText("The right answer", given[-1][1] if given else ""),
                lambda text: None if text is None else self._keep(turn, text),
            )

        self.app.push_screen(Choose("Which answer is the right one?", entries, len(entries) - 1), chosen)

    def _keep(self, turn: ChatTurn, answer: str) -> None:
        recipe = self.arms.recipe
        columns = recipe.data.columns.model_dump(exclude_none=True) if recipe and recipe.data.columns else {}
        arm = self.names[-1]
        alone = recipe is not None and recipe.task == "seq2seq"  # its models read each text by itself
        said = [Turn("system", turn.settings.system)] if turn.settings.system.strip() and not alone else []
        for before in self.turns[: 0 if alone else self.turns.index(turn)]:
            if arm in before.replies and before.replies[arm].text.strip():
                said += [Turn("user", before.text), Turn("assistant", before.replies[arm].text)]
        said.append(Turn("user", turn.text))
        source = Path(recipe.data.first) if recipe else Path("rows")
        stem = slug("-".join(part for part in (source.parent.name, source.stem) if part))
        folder = self.session.workspace.path / "from-chat"
        try_keep: list[Path] = []
        if self.attempt(lambda: try_keep.append(keep(folder, stem, said, answer, columns))):
            self.studio.tell(f"Kept as a row in {shown(try_keep[0])}")

    def action_back(self) -> None:
        """Stop the answer, or back to the comparison."""
        if self.busy:
            folder = self.following.folder
            if self.attempt(lambda: folder.request("stop")):
                self.studio.tell("Stopping; what is there is kept.")
            return
        self.dismiss(None)


def _arms_of(arms: Arms) -> tuple[list[str], list[RunFolder]]:
    """The names and runs of the two arms that talk: those in view where they are models at hand, else base and run."""
    beside = {path.name: path for path in (arms.run.path.parent / name for name in (arms.a, arms.b))
              if RunFolder(path).model.is_dir()}  # fmt: skip
    names = [name for name in (arms.a, arms.b) if name == BASE or name in beside]
    if len(names) < 2:
        return [BASE, arms.run.name], [arms.run]
    runs = [RunFolder(beside[name]) for name in names if name != BASE]
    return names, runs


def _usual(arms: Arms) -> ChatSettings:
    """The settings of the recipe's own answers, but with room for what one may ask beside the task."""
    if arms.recipe is None:
        return ChatSettings()
    evaluation = arms.recipe.evaluation
    most = max(evaluation.max_new_tokens or ChatSettings().max_new_tokens, LEAST_TOKENS)
    return ChatSettings(evaluation.temperature, most, arms.recipe.training.seed)
