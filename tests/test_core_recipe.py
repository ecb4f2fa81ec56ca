"""Recipes: strict, immutable, and clear about what is wrong and where."""

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML

from ftstudio import tasks
from ftstudio.core.errors import UsageError
from ftstudio.core.recipe import Recipe
from ftstudio.core.recipe_file import parse, to_yaml


class Rank(BaseModel):
    model_config = ConfigDict(extra="forbid")
    r: int = 16


class Nothing(BaseModel):
    model_config = ConfigDict(extra="forbid")


METHODS = {"lora": Rank, "qlora": Rank, "full": Rank, "head": Nothing}
GOOD = "task: sft\nmodel: demo\nmethod: {name: lora, r: 4}\ndata: {train: a.jsonl}\ntraining: {learning_rate: 2e-4}\n"


def read(text: str, *overrides: str) -> Recipe:
    return parse(text, "r.yaml", overrides, METHODS, tasks.models())


def test_a_recipe_comes_back_as_it_was_written() -> None:
    recipe = read(GOOD)
    assert recipe.training.learning_rate == 2e-4
    assert recipe.method.settings == {"r": 4}
    for defaults in (False, True):
        for comments in (False, True):
            again = read(to_yaml(recipe, defaults=defaults, comments=comments))
            assert again.model_dump() == recipe.model_dump()


def test_overrides_are_yaml_at_dotted_paths() -> None:
    recipe = read(GOOD, "training.epochs=2", "data.columns.prompt=q", "evaluation.metrics=[rouge]", "data.eval=")
    assert (recipe.training.epochs, recipe.data.columns and recipe.data.columns.prompt) == (2, "q")
    assert (recipe.evaluation.metrics, recipe.data.eval) == (("rouge",), None)


def test_another_method_typed_over_the_file_s_leaves_what_only_that_one_knew() -> None:
    assert read(GOOD, "method.name=qlora").method.settings == {"r": 4}
    assert read(GOOD, "method.name=head").method.settings == {}
    for typed in (["method.r=8", "method.name=head"], ["method.name=head", "method.r=8"]):
        with pytest.raises(UsageError, match=r"method\.r, as you typed it: there is no such key"):
            read(GOOD, *typed)


def test_a_method_s_name_alone_is_short_for_its_name_in_the_file_and_as_typed() -> None:
    assert read(GOOD, "method=qlora") == read(GOOD, "method.name=qlora")
    for typed in (["method=qlora", "method.r=8"], ["method.r=8", "method=qlora"]):
        assert read(GOOD, *typed).method.settings == {"r": 8}
    short = read(GOOD.replace("method: {name: lora, r: 4}", "method: qlora"), "method.r=8").method
    assert (short.name, short.settings) == ("qlora", {"r": 8})


def test_steps_typed_over_the_file_s_epochs_replace_them() -> None:
    recipe = read(GOOD.replace("2e-4", "2e-4, epochs: 3"), "training.steps=12")
    assert (recipe.training.steps, recipe.training.epochs) == (12, None)
    recipe = read(GOOD.replace("2e-4", "2e-4, steps: 3"), "training.epochs=1.5")
    assert (recipe.training.steps, recipe.training.epochs) == (None, 1.5)
    with pytest.raises(UsageError, match="not both"):
        read(GOOD, "training.steps=12", "training.epochs=1")


def test_what_is_read_once_is_the_same_when_it_is_read_again() -> None:
    """What the YAML says is kept; what is typed beside it, and where it was read from, is not."""
    text = GOOD + "# read twice\n"
    plain, changed, again = read(text), read(text, "method.r=9", "data.columns.prompt=q"), read(text)
    assert changed.method.settings == {"r": 9}
    assert again == plain
    assert again.method.settings == {"r": 4}
    wrong = GOOD.replace("r: 4", "rank: 4")
    for source in ("one.yaml", "two.yaml"):
        with pytest.raises(UsageError, match=source):
            parse(wrong, source, (), METHODS, tasks.models())


def test_a_method_may_be_just_its_name() -> None:
    assert read(GOOD.replace("{name: lora, r: 4}", "full")).method.name == "full"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (GOOD.replace("train:", "trian:"), 4, "data.trian: there is no such key. Did you mean 'train'?"),
        (GOOD.replace("task: sft", "task: stf"), 1, "Did you mean 'sft'?"),
        (GOOD.replace("name: lora", "name: lroa"), 3, "Did you mean 'lora'?"),
        (GOOD.replace("r: 4", "rank: 4"), 3, "method.rank: there is no such key"),
        (GOOD.replace("r: 4", "r: four"), 3, "method.r"),
        (GOOD.replace("model: demo\n", ""), None, "model is missing"),
        (GOOD.replace("learning_rate: 2e-4", "epochs: 1, steps: 2"), 5, "epochs or steps, not both"),
        (GOOD.replace("train: a.jsonl", "train: a.jsonl, eval: 7"), 4, "between 0 and 1"),
        ("task: [", None, "r.yaml"),
        ("just words", None, "holds no recipe"),
        (GOOD + "evaluation: {metrics: [ruge]}", 6, "no metric named 'ruge'"),
        (GOOD + "evaluation: {format: {regex: '('}}", 6, "not a regular expression"),
    ],
)
def test_faults_name_key_line_and_way_out(text: str, line: int | None, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert words in str(caught.value)
    if line is not None:
        assert f"line {line}" in str(caught.value)
    assert caught.value.code == 2


def test_a_recipe_can_not_be_changed_only_replaced() -> None:
    recipe = read(GOOD)
    with pytest.raises(ValidationError):
        recipe.model = "other"  # type: ignore[misc]
    other = recipe.with_changes({"model": "other", "training.epochs": 1})
    assert (recipe.model, other.model, other.training.epochs) == ("demo", "other", 1)


def test_a_run_s_recipe_says_what_each_thing_to_watch_for_means() -> None:
    values = {"task": "sft", "model": "demo", "data": {"train": "demo"}}
    line = 'echo "$FTSTUDIO_TEXT" >&2; exit 3'
    recipe = Recipe.model_validate({**values, "method": "lora", "training": {"watch": {"command": line}}})
    text = to_yaml(recipe, defaults=True, comments=True)
    said = next(one for one in text.splitlines() if one.strip().startswith("command:"))
    assert "a line for sh" in said
    assert '"$FTSTUDIO_TEXT", in quotes' in said
    assert YAML(typ="safe").load(text)["training"]["watch"]["command"] == line
