"""The Recipe wizard as a person goes through it: six steps, wrong values, back without loss, presets, the start."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import made_answers as made
import made_runs
import pytest
from screens import IdleWorker, press, shown, until
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from ftstudio.core import files
from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import PRESETS, Workspace
from ftstudio.engine.recipes import check_recipe, load_recipe
from ftstudio.engine.sweep import siblings
from ftstudio.ui.common.fields import FieldRow
from ftstudio.ui.recipe.draft import Draft, load_draft
from ftstudio.ui.recipe.forms import BATCH, EVAL, GROUPS, JUDGING, LENGTH, MORE, TEMPLATE, method_specs
from ftstudio.ui.recipe.presets import as_preset, description
from ftstudio.ui.recipe.screen import RecipeScreen
from ftstudio.ui.recipe.step_method import MethodPanel
from ftstudio.ui.recipe.step_review import _plan_lines
from ftstudio.ui.shell.app import StudioApp
from ftstudio.ui.shell.session import Session

SIZES = [(80, 24), (120, 40)]
QUESTIONS = ["What is to be learnt?", "From which rows?", "Which model learns?", "Which weights learn?",
             "How is it trained?", "Does it fit together?"]  # fmt: skip


def studio(folder: Path, values: dict[str, Any] | None = None) -> StudioApp:
    session = Session(Workspace(folder / "studio"), check_recipe(values) if values else None)
    session._worker = IdleWorker()  # type: ignore[assignment]
    return StudioApp(session, "recipe")


def wizard(pilot: Pilot[Any]) -> RecipeScreen:
    screen = pilot.app.screen_stack[0]
    assert isinstance(screen, RecipeScreen)
    return screen


def recipe(pilot: Pilot[Any]) -> dict[str, Any]:
    """The draft's values."""
    return wizard(pilot).draft.plain()


async def step(pilot: Pilot[Any], at: int) -> str:
    """Go on to step AT; its fields are there, and have the focus."""
    await until(pilot, QUESTIONS[wizard(pilot).at], 30)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        screen = wizard(pilot)
        if screen.at == at and screen.panel.ready and screen.focused is not None:
            return await until(pilot, QUESTIONS[at], 30)
        if screen.at != at and screen.panel.ready:
            await pilot.press("enter" if at > screen.at else "escape")
        await pilot.pause(0.05)
    raise AssertionError(shown(pilot.app))


async def field(pilot: Pilot[Any], key: str, by: str = "down") -> FieldRow:
    """The focus on the field that sets KEY, brought there BY a key."""
    row = wizard(pilot).panel.query_one(f"#field-{key.replace('.', '-')}", FieldRow)
    for _ in range(40):
        if row.control.has_focus:
            return row
        await pilot.press(by)
    raise AssertionError(f"no way to {key}:\n{shown(pilot.app)}")


DEMO = {"model": "demo", "data": {"train": "demo"}}


# -- the whole way ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
async def test_six_steps_lead_from_nothing_to_a_run(tmp_path: Path, size: Any) -> None:
    path = made.dataset(tmp_path, 40)
    app = studio(tmp_path)
    async with app.run_test(size=size) as pilot:
        text = await step(pilot, 0)
        assert "The model reads a prompt and learns to write the completion." in text
        text = await step(pilot, 1)
        assert "The rows to learn from: prompt, completion." in text
        await pilot.press("enter")  # nothing named yet: it says so and stays
        await until(pilot, "✗ Name a file, a hub id or demo.")
        pilot.app.post_message(events.Paste(str(path)))  # as a terminal hands on what is pasted into it
        await pilot.pause()
        assert recipe(pilot)["data"]["train"] == str(path)
        await pilot.press("enter")
        await until(pilot, "to train on, 4 held out", 30)
        text = await until(pilot, "guessed: columns 'prompt' → 'completion'")
        assert "reads   Where does the" in text
        assert "writes  The" in text
        await step(pilot, 2)
        await press(pilot, "text:demo enter")
        text = await until(pilot, "LlamaForCausalLM")
        assert "It reads 512 tokens; of 36 texts half have up to" in text
        text = await step(pilot, 3)
        assert "small adapters learn, the base stays" in text
        await pilot.press("down")
        await until(pilot, "(•) qlora")
        assert recipe(pilot)["method"] == {"name": "qlora"}
        await step(pilot, 4)
        (await field(pilot, "training.steps")).control.focus()
        await press(pilot, "9")
        await until(pilot, "by the steps")  # not the usual number of epochs
        await press(pilot, "up 2 down down text:1e-3")
        text = await step(pilot, 5)
        text = await until(pilot, "updates of the weights", 150)
        assert "36 to train on" in text
        assert "Start training" in text
        assert "command     ftstudio train" in text  # as this machine's tests have no GPU
        assert recipe(pilot) == {
            "task": "sft", "model": "demo", "method": {"name": "qlora"}, "data": {"train": str(path)},
            "training": {"epochs": 2, "learning_rate": 1e-3},
        }  # fmt: skip
        await pilot.press("s")
        await until(pilot, "▸4 Train◂", 60)
        run = app.session.workspace.runs()[0]
        assert app.session.worker.jobs == [Train(run.path)]  # type: ignore[attr-defined]
        made_of = load_recipe(run.recipe_path)
        assert (made_of.method.name, made_of.training.epochs, made_of.data.train) == ("qlora", 2, str(path))
        await pilot.press("3")
        await until(pilot, "Start training")
        await pilot.press("S")
        await until(pilot, "A run for each of which values?")
        await pilot.press(*(sign if sign != "_" else "underscore" for sign in "training.learning_rate=1e-4,2e-4"))
        await press(pilot, "space text:method.r=4,8 enter")
        await until(pilot, "▸4 Train◂", 60)
        swept = siblings(RunFolder(app.session.worker.jobs[1].folder))  # type: ignore[attr-defined]
        assert [one.folder for one in app.session.worker.jobs[1:]] == [one.path for one in swept]  # type: ignore[attr-defined]
        found = [load_recipe(one.recipe_path) for one in swept]
        assert [(one.training.learning_rate, one.method.settings["r"]) for one in found] == [
            (1e-4, 4), (1e-4, 8), (2e-4, 4), (2e-4, 8),
        ]  # fmt: skip
        assert "learning-rate-2e-4-r-8" in swept[-1].name


@pytest.mark.parametrize("size", SIZES)
async def test_going_back_loses_nothing_and_the_steps_say_how_they_stand(tmp_path: Path, size: Any) -> None:
    async with studio(tmp_path, DEMO).run_test(size=size) as pilot:
        await step(pilot, 4)
        row = await field(pilot, "training.batch_size")
        await press(pilot, "text:16x")
        text = await until(pilot, "✗ must be a whole number")
        assert "settings ✗" in text
        await pilot.press("escape")
        await step(pilot, 1)
        text = await until(pilot, "settings ✗")
        assert "model    ✓" in text
        await step(pilot, 4)
        assert row.control.value == "16x"  # as it was typed, wrong as it is
        await pilot.press("enter")  # not on: the focus goes to what is wrong
        await pilot.pause()
        assert wizard(pilot).at == 4
        assert row.control.has_focus
        await pilot.press("backspace")
        await until(pilot, "✗ must be", gone=True)
        assert recipe(pilot)["training"] == {"batch_size": 16}
        assert wizard(pilot).draft.recipe is not None


async def test_turning_through_the_methods_keeps_what_they_share(tmp_path: Path) -> None:
    async with studio(tmp_path, DEMO).run_test(size=(80, 24)) as pilot:
        await step(pilot, 3)
        wizard(pilot).draft.set("method.r", 4)
        await pilot.press("down", "up", "down", "up", "down")  # faster than fields are made
        await until(pilot, "(•) qlora")
        assert recipe(pilot)["method"] == {"name": "qlora", "r": 4}
        row = await field(pilot, "method.r", "tab")
        assert row.control.value == "4"
        await pilot.press("backspace", "x")
        await until(pilot, "✗ must be a whole number")
        await pilot.press("backspace", "8")
        assert recipe(pilot)["method"] == {"name": "qlora", "r": 8}
        compute = next(row for row in wizard(pilot).query(FieldRow) if row.spec.key == "method.compute")
        assert compute.display
        wizard(pilot).draft.set("method.quantisation", "int8")
        wizard(pilot).query_one(MethodPanel).show()
        assert not compute.display  # it would do nothing
        wizard(pilot).draft.set("method.compute", "bf16")
        wizard(pilot).query_one(MethodPanel).show()
        assert compute.display  # what is set is never hidden


async def test_every_field_can_be_reached_by_the_arrows_and_says_what_it_is_for(tmp_path: Path) -> None:
    async with studio(tmp_path, DEMO).run_test(size=(80, 24)) as pilot:
        await step(pilot, 4)
        for _ in range(1 + sum(len(specs) for _, specs in GROUPS)):
            await pilot.press("down")
        await pilot.press("up", "space")  # the line that folds the rest away
        await until(pilot, "▾")
        seen = {}
        for _ in range(len(MORE)):
            await pilot.press("down")
            row = next(node for node in wizard(pilot).focused.ancestors_with_self if isinstance(node, FieldRow))  # type: ignore[union-attr]
            await pilot.pause()
            seen[row.spec.key] = shown(pilot.app)
        assert list(seen) == [spec.key for spec in MORE]
        for spec in MORE:
            assert spec.label in seen[spec.key]  # scrolled into view
            assert spec.help.split()[0] in seen[spec.key]


@pytest.mark.parametrize(
    ("key", "typed", "said"),
    [
        ("training.epochs", "-3", "must be above 0"),
        ("training.learning_rate", "fast", "must be a number"),
        ("evaluation.rows", "0", "must be"),
    ],
)
async def test_a_wrong_value_is_told_beside_its_field(tmp_path: Path, key: str, typed: str, said: str) -> None:
    async with studio(tmp_path, DEMO).run_test(size=(80, 24)) as pilot:
        await step(pilot, 4)
        row = await field(pilot, key)
        await pilot.press(*typed)
        text = await until(pilot, said)
        lines = text.splitlines()
        at = next(place for place, line in enumerate(lines) if row.spec.label in line and typed in line)
        assert said in lines[at + 1]
        await pilot.press("enter")
        await pilot.pause()
        assert wizard(pilot).at == 4


async def test_faulty_data_and_models_keep_one_where_they_are_put_right(tmp_path: Path) -> None:
    async with studio(tmp_path).run_test(size=(80, 24)) as pilot:
        await step(pilot, 1)
        await press(pilot, "text:nowhere.csv enter")
        await until(pilot, "✗ There is no file 'nowhere.csv'")
        assert "data     ✗" in shown(pilot.app)
        await pilot.press("enter", "enter")
        assert wizard(pilot).at == 1
        await pilot.press(*["backspace"] * 11, *"demo", "enter")
        await until(pilot, "400 rows", 30)
        await step(pilot, 2)
        await press(pilot, "text:./no-such-folder enter")
        await until(pilot, "✗")
        await pilot.press("enter")
        await pilot.pause(0.1)
        assert wizard(pilot).at == 2


async def test_what_is_told_of_a_model_is_of_the_one_that_stands_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiny_models import make_model

    make_model(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    async with studio(tmp_path / "studio").run_test(size=(120, 40)) as pilot:
        await step(pilot, 1)
        await press(pilot, "text:demo enter")
        await until(pilot, "400 rows", 30)
        await step(pilot, 2)
        await press(pilot, "text:demo enter")
        await until(pilot, "✓ demo", 30)
        await pilot.press("ctrl+u")
        await press(pilot, "text:./ti")
        text = await until(pilot, "enter reads it")
        assert "✓ demo" not in text
        await press(pilot, "text:ny")
        await until(pilot, "LlamaForCausalLM", 30)  # a folder with a model is read without asking


# -- the YAML, the draft, presets ------------------------------------------------------------------------------------
async def test_the_yaml_grows_with_every_answer(tmp_path: Path) -> None:
    async with studio(tmp_path).run_test(size=(120, 40)) as pilot:
        await until(pilot, "recipe.yaml  as it grows")
        await step(pilot, 1)
        await press(pilot, "text:demo")
        assert "train: demo" in await until(pilot, "▌data:")
        await pilot.press("ctrl+y")
        await until(pilot, "as it grows", gone=True)
    async with studio(tmp_path / "small").run_test(size=(80, 24)) as pilot:
        await step(pilot, 0)
        await pilot.press("v")
        text = await until(pilot, "task: sft")
        assert "v hide the yaml" in text.splitlines()[-1]
        await pilot.press("escape")
        await until(pilot, "What is to be learnt?")


async def test_what_was_typed_is_there_after_a_crash_and_in_the_next_studio(tmp_path: Path) -> None:
    async with studio(tmp_path).run_test(size=(80, 24)) as pilot:
        await step(pilot, 1)
        await press(pilot, "text:demo")
        path, end = wizard(pilot).draft_path, time.monotonic() + 10
        while not path.exists() and time.monotonic() < end:  # kept while typing, not at the end
            await pilot.pause(0.1)
        kept = load_draft(path)
        assert kept is not None
        assert kept.get("data.train") == "demo"
    async with studio(tmp_path).run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, "taken up again")
        assert recipe(pilot)["data"] == {"train": "demo"}


async def test_what_found_no_room_is_saved_once_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told once, and needs no other change."""
    monkeypatch.setattr("ftstudio.ui.recipe.wizard.AGAIN", -0.5)
    real, full, tries = files.write, {"now": True}, []

    def write(path: Path, content: str | bytes) -> None:
        tries.append(path)
        if full["now"]:
            raise files.explain(OSError(28, "No space left on device"), path)
        real(path, content)

    monkeypatch.setattr(files, "write", write)
    async with studio(tmp_path).run_test(size=(80, 24), notifications=True) as pilot:
        told: list[str] = []
        monkeypatch.setattr(wizard(pilot).studio, "show_error", lambda error: told.append(str(error)))
        await step(pilot, 1)
        await press(pilot, "text:demo")
        end = time.monotonic() + 10
        while len(tries) < 4 and time.monotonic() < end:
            await pilot.pause(0.1)
        assert len(tries) >= 4
        assert len(told) == 1
        assert "The disk is full" in told[0]
        full["now"] = False
        while not (tmp_path / "studio" / "draft.yaml").exists() and time.monotonic() < end:
            await pilot.pause(0.1)
        kept = load_draft(tmp_path / "studio" / "draft.yaml")
        assert kept is not None
        assert kept.get("data.train") == "demo"


async def test_another_recipe_sets_the_draft_aside(tmp_path: Path) -> None:
    async with studio(tmp_path, {**DEMO, "training": {"epochs": 7}}).run_test(
        size=(80, 24), notifications=True
    ) as pilot:
        await step(pilot, 0)
        await pilot.press("o")
        await until(pilot, "Open a preset")
        names = sorted(path.stem for path in PRESETS.glob("*.yaml"))
        await pilot.press(*["down"] * names.index("sft-qlora"))
        await until(pilot, "frozen weights take 4 bits")  # what it is, in full
        await pilot.press("enter")
        await until(pilot, "Preset sft-qlora is open.")
        values = recipe(pilot)
        assert values["method"]["name"] == "qlora"
        assert "model" not in values  # a shipped preset's placeholder: to be named by the person
        assert "train" not in values.get("data", {})
        kept = list((tmp_path / "studio" / "trash").glob("draft-*.yaml"))
        assert [load_draft(path).get("training.epochs") for path in kept] == [7]  # type: ignore[union-attr]
        await press(pilot, "ctrl+n")
        await until(pilot, "Begin a new recipe?")
        await pilot.press("escape")
        await pilot.pause()
        assert recipe(pilot)["method"]["name"] == "qlora"
        await pilot.press("ctrl+n", "n")
        await until(pilot, "A new recipe.")
        assert recipe(pilot) == {"task": "sft"}


async def test_a_preset_of_ones_own_is_saved_asked_before_it_is_overwritten_and_opens_again(tmp_path: Path) -> None:
    values = {**DEMO, "method": {"name": "lora", "r": 4}, "training": {"epochs": 2}}
    async with studio(tmp_path, values).run_test(size=(80, 24), notifications=True) as pilot:
        await step(pilot, 0)
        await pilot.press("w")
        await until(pilot, "Save as preset")
        await pilot.press(*["backspace"] * 30, *"My first!", "enter")
        await until(pilot, "Saved:")
        path = tmp_path / "studio" / "presets" / "my-first.yaml"
        text = path.read_text()
        assert text.startswith("# sft with lora on demo")
        again = load_recipe(path)
        assert (again.method.r, again.training.epochs) == (4, 2)  # type: ignore[attr-defined]
        await press(pilot, "w")
        await until(pilot, "Save as preset")
        await pilot.press(*["backspace"] * 30, *"my-first", "enter")
        await until(pilot, "There is a preset my-first already.")
        await pilot.press("escape")
        await pilot.pause()
        assert path.read_text() == text
        await press(pilot, "ctrl+n n o")
        await until(pilot, "my-first")
        await pilot.press("home", "enter")
        await until(pilot, "Preset my-first is open.")
        assert recipe(pilot)["method"] == {"name": "lora", "r": 4}


async def test_an_incomplete_recipe_can_not_be_saved_or_started_and_says_why(tmp_path: Path) -> None:
    app = studio(tmp_path)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await step(pilot, 0)
        await pilot.press("w")
        await until(pilot, "Not yet a recipe:")
        await pilot.press("s")
        text = await until(pilot, "Still to do, go back with esc:")
        assert "✗ model: needed" in text
        assert "Not yet: something is missing or wrong" in text
        await press(pilot, "s enter")
        await pilot.pause(0.1)
        assert app.session.worker.jobs == []  # type: ignore[attr-defined]
        assert app.session.workspace.runs() == []


async def test_data_chosen_on_data_join_what_was_typed_here(tmp_path: Path) -> None:
    path = made.dataset(tmp_path, 20)
    app = studio(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await step(pilot, 1)
        await pilot.press("ctrl+p")
        await pilot.press("escape")
        wizard(pilot).draft.set("training.epochs", 9)  # typed before any data was named
        wizard(pilot).draft.set("method", {"name": "full"})
        app.session.data_source = str(path)
        await press(pilot, "1")
        await until(pilot, "20 rows")
        await pilot.press("r")
        await until(pilot, "▸3 Recipe◂")
        await until(pilot, "From which rows?")
        values = recipe(pilot)
        assert values["data"]["train"] == str(path)
        assert values["training"] == {"epochs": 9}
        assert values["method"] == {"name": "full"}


async def test_columns_are_chosen_on_the_data_step(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("alpha,beta\n" + "".join(f"what is {n}?,it is {n}\n" for n in range(30)))
    async with studio(tmp_path, {"model": "demo", "data": {"train": str(path)}}).run_test(size=(80, 24)) as pilot:
        await step(pilot, 1)
        await until(pilot, "✗", 30)
        while not isinstance(wizard(pilot).focused, Input) or wizard(pilot).focused.id != "train-field-line":
            await pilot.press("up")
        for _ in range(4):
            if "space changes" in shown(pilot.app):
                break
            await pilot.press("shift+tab" if wizard(pilot).focused is None else "tab")
            await pilot.pause()
        await pilot.press("space")
        await until(pilot, "Which column plays which part?")
        await press(pilot, "right down right enter")
        await until(pilot, "prompt = alpha, completion = beta", 30)
        await until(pilot, "27 rows to train on, 3 held out", 30)
        assert recipe(pilot)["data"]["columns"] == {"prompt": "alpha", "completion": "beta"}


async def test_earlier_models_are_offered_and_digits_in_the_empty_line_go_to_the_screens(tmp_path: Path) -> None:
    app = studio(tmp_path)
    made_runs.begin(app.session.workspace, "old", text=made_runs.RECIPE.replace("model: demo", "model: some/model"))
    async with app.run_test(size=(80, 24)) as pilot:
        await step(pilot, 1)
        await pilot.press("6")
        await until(pilot, "▸6 Runs◂")
        await pilot.press("3")
        await until(pilot, "From which rows?")
        await press(pilot, "text:demo6 enter")  # a digit behind other letters is text
        await until(pilot, "There is no file 'demo6'")
        await pilot.press("backspace", "enter")
        await until(pilot, "400 rows", 30)
        await step(pilot, 2)
        await until(pilot, "used in old-1")
        await pilot.press("?")
        await until(pilot, "A recipe says what is trained")


# -- without screens -------------------------------------------------------------------------------------------------
def test_a_draft_keeps_what_is_wrong_and_says_why_by_key(tmp_path: Path) -> None:
    draft = Draft({"task": "sft", "model": "demo", "data": {"train": "demo"}})
    assert draft.recipe is not None
    draft.set("training.epochs", "many")
    assert draft.recipe is None
    assert "must be a number" in draft.faults["training.epochs"]
    draft.save(tmp_path / "draft.yaml")
    again = load_draft(tmp_path / "draft.yaml")
    assert again is not None
    assert again.get("training.epochs") == "many"
    assert again.clear("training.epochs")
    assert again.recipe == check_recipe(DEMO)
    (tmp_path / "broken.yaml").write_bytes(b"\xff: [")
    assert load_draft(tmp_path / "broken.yaml") is None
    assert load_draft(tmp_path / "none.yaml") is None


WORDS = {"method.targets": "attention", "method.lora_plus": 16.0}  # what a key takes that takes no usual value


def test_every_field_sets_a_key_that_recipes_know(tmp_path: Path) -> None:
    for spec in (EVAL, TEMPLATE, *LENGTH, *BATCH, *JUDGING, *MORE, *method_specs("lora"), *method_specs("qlora")):
        draft = Draft(DEMO)
        if spec.key.startswith("method."):
            draft.set("method.name", "qlora")
        values = [value for value, _ in spec.options if value is not None]
        value = (
            values[-1]
            if values
            else WORDS.get(spec.key, {"int": 64, "float": 0.5, "list": ["rouge"]}.get(spec.kind, "auto"))
        )
        draft.set(spec.key, value)
        assert draft.recipe is not None, draft.faults
        assert spec.help, spec.key


def test_a_preset_tells_what_it_is_and_reads_back(tmp_path: Path) -> None:
    made_of = check_recipe({**DEMO, "method": {"name": "qlora", "r": 32}})
    path = tmp_path / "own.yaml"
    path.write_text(as_preset(made_of, "about [b] \x1b[2J\nthis"))
    assert made.harmless(description(path))
    assert description(path).startswith("about [b]")
    assert load_recipe(path) == made_of


def test_tokens_of_labelled_rows_are_not_told_as_a_share_that_is_trained() -> None:
    def told(trained: int, **more: bool) -> str:
        plan = {"rows": {"train": 10, "eval": 2}, "tokens": {"total": 200, "trained": trained}}
        return "\n".join("".join(text for text, _ in line) for line in _plan_lines(plan, 100, **more))

    assert "90 trained (45 %), nothing cut off" in told(90)
    assert "200  read; a label or score a row is learnt, nothing cut off" in told(10)
    assert "pairs       10 to train on" in told(10, pairs=True)


# -- sweeps ----------------------------------------------------------------------------------------------------------
async def asked_for_a_sweep(pilot: Pilot[Any], text: str) -> None:
    screen = wizard(pilot)
    await until(pilot, QUESTIONS[0], 30)
    screen._go(5)
    await until(pilot, QUESTIONS[5], 30)
    await pilot.press("S")
    await until(pilot, "A run for each of which values?")
    await type_in(pilot, text)


def notices(app: StudioApp) -> str:
    return " ".join(note.message for note in app._notifications)


async def type_in(pilot: Pilot[Any], text: str) -> None:
    pilot.app.post_message(events.Paste(text))
    await pilot.pause()
    await pilot.press("enter")
    await pilot.pause()


async def test_a_value_that_no_recipe_takes_is_refused_where_it_is_typed(tmp_path: Path) -> None:
    async with studio(tmp_path, DEMO).run_test(size=(80, 24)) as pilot:
        await asked_for_a_sweep(pilot, "training.learning_rate=1e-3,9")
        text = await until(pilot, "must be at most 1 (it")
        assert "A run for each of which values?" in text
        assert "training.learning_rate=1e-3,9" in text
        await press(pilot, "s")  # a letter of the line, no key of the wizard
        await until(pilot, "training.learning_rate=1e-3,9s")
        await press(pilot, "backspace backspace text:training.seed enter")
        await until(pilot, "training.learning_rate=1e-3,training.seed")
        await press(pilot, "escape S")
        pilot.app.post_message(events.Paste(f"training.seed={','.join(map(str, range(51)))}"))
        await pilot.press("enter")
        await until(pilot, "List values for 50 at most.")
        assert not pilot.app.session.worker.jobs  # type: ignore[attr-defined]


async def test_a_sweep_of_which_some_can_not_begin_says_how_many_and_which(tmp_path: Path) -> None:
    app = studio(tmp_path, DEMO)
    async with app.run_test(size=(120, 40)) as pilot:
        await asked_for_a_sweep(pilot, "model=demo,nothere training.learning_rate=1e-3,2e-3")
        await until(pilot, "▸4 Train◂", 60)
        said = notices(app)
        assert "2 of 4 begin; 6 shows them; 2 can't: model=nothere learning_rate=1e-3, model=nothere" in said
        swept = [RunFolder(job.folder) for job in app.session.worker.jobs]  # type: ignore[attr-defined]
        assert [run.path for run in siblings(swept[0])] == [run.path for run in swept]
        for run in swept:
            run.emit("start", total_steps=2)
            run.emit("step", step=2, loss=1.0)
            run.emit("done")
        await until(pilot, "2 never began")
        await press(pilot, "3 S")
        await until(pilot, "model=demo,nothere training.learning_rate")  # to be mended
        await press(pilot, "ctrl+u")
        await type_in(pilot, "model=nothere,norhere")
        for _ in range(100):
            if "None of 2 begins; 2 can't: model=nothere" in (said := notices(app)):
                break
            await pilot.pause(0.05)
        assert "None of 2 begins; 2 can't: model=nothere" in said
        assert "▸3 Recipe◂" in shown(app)
