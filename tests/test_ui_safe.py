"""What may come from data or a model is harmless where it can be changed, too; fields read what is typed."""

from __future__ import annotations

import pytest
from made_answers import HOSTILE
from textual.app import App
from textual.screen import ModalScreen

from ftstudio.core.files import read_json, write_json
from ftstudio.ui.common.fields import Choice, Spec
from ftstudio.ui.errors.editing import EditText
from ftstudio.ui.shell.dialogs import Ask, Prompt
from ftstudio.ui.text.safe_area import SafeTextArea

DIALOGS = {
    "text": lambda: EditText(HOSTILE, HOSTILE, HOSTILE),
    "line": lambda: Prompt(HOSTILE, HOSTILE, HOSTILE),
    "question": lambda: Ask(HOSTILE, HOSTILE, {"d": "delete"}),
}


@pytest.mark.parametrize("name", DIALOGS)
async def test_no_dialog_hands_the_terminal_what_it_obeys(name: str) -> None:
    app: App[None] = App()
    async with app.run_test(size=(80, 24)) as pilot:
        dialog: ModalScreen[str | None] = DIALOGS[name]()
        app.push_screen(dialog)
        await pilot.pause()
        lines = [widget.render_line(y) for widget in dialog.query("*") for y in range(widget.size.height)]
        drawn = "".join(part.text for line in lines for part in line if not part.control)
        assert "世界" in drawn
        assert not {sign for sign in drawn if sign < " " or "\x7f" <= sign <= "\x9f" or sign == "\u202e"}
        if name == "text":
            assert dialog.query_one(SafeTextArea).text == HOSTILE  # which stays as it is


@pytest.mark.parametrize(
    ("text", "value"),
    [("[a, b]", ["a", "b"]), ("a, b", ["a", "b"]), ("[INST], [/INST]", ["[INST]", "[/INST]"]), ("[INST]", ["INST"])],
)
def test_a_list_is_read_with_and_without_brackets(text: str, value: list[str]) -> None:
    spec = Spec("k", "k", "", kind="list")
    assert spec.read(text) == value
    if len(value) > 1:
        assert spec.read(spec.write(value)) == value


async def test_what_is_chosen_is_seen_however_narrow_it_is() -> None:
    options = [(word, word) for word in ("default: last-layers", "all-but-first", "head", "bias", "norm", "embeddings")]
    app: App[None] = App()
    async with app.run_test(size=(45, 5)) as pilot:
        choice = Choice(options, "embeddings")
        await app.mount(choice)
        await pilot.pause()
        for word, _ in options:
            choice.put(word)
            shown = "".join(text for text, _ in choice.line(0))
            assert f"‹{word}›" in shown
            assert shown.index(f"‹{word}›") + len(word) + 2 <= choice.columns


def test_a_path_that_is_no_utf8_is_kept_and_read_back(tmp_path) -> None:  # type: ignore[no-untyped-def]
    value = {"recent": ["caf\udce9.jsonl", "größe"]}
    write_json(tmp_path / "recent.json", value)
    assert read_json(tmp_path / "recent.json") == value
