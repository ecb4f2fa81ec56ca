"""What every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from nursery import Nursery

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Two workers of the suite on two cores: threads of torch beyond one only wait for each other (40 % of the CPU time).
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples every time; HYPOTHESIS_PROFILE=random draws new ones.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("random", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


# Longer forms of what one case in the same file proves already: they run with `-m slow`, so that the quick run stays
# within its eight minutes on two cores.
LONG = (
    "test_engine_training_killed.py::test_resuming_after_sigkill_is_exact[full]",
    "test_engine_training_killed.py::test_resuming_after_sigkill_is_exact[qlora]",
    "test_real_files.py::test_a_real_file_goes_through_the_loop[llamafactory-demo]",
    "test_real_files.py::test_a_real_file_goes_through_the_loop[fastchat-sharegpt]",
    "test_real_files.py::test_a_real_file_goes_through_the_loop[openai-cookbook-chat]",
    "test_real_files.py::test_a_real_file_goes_through_the_loop[mlx-wikisql-lora]",
    "test_ui_recipe.py::test_six_steps_lead_from_nothing_to_a_run[size1]",
    "test_ui_recipe.py::test_going_back_loses_nothing_and_the_steps_say_how_they_stand[size1]",
    "test_engine_training_memory.py::test_steps_learn_the_same_in_parts[lora-forward-None]",
    "test_engine_training_memory.py::test_steps_learn_the_same_in_parts[lora-backward-MemoryError]",
    "test_engine_training_runs.py::test_it_learns[full]",
    "test_engine_training_runs.py::test_it_learns[qlora]",
    "test_engine_training_runs.py::test_what_training_switches_on_the_kept_base_is_switched_off",
    "test_tasks_text_classification.py::test_several_labels_and_numbers[multi]",
    "test_tasks_text_classification.py::test_a_classifier_learns_is_saved_and_compared[full]",
    "test_ui_errors_back.py::test_repairs_are_kept_undone_saved_and_lead_to_a_recipe[size1]",
    "test_ui_errors_mend.py::test_an_own_answer_is_kept_paired_and_becomes_a_training_row[size1]",
    "test_ui_errors_mend.py::test_an_own_category_shows_what_it_catches_while_it_is_written[size1]",
    "test_evaluation_labels.py::test_one_walks_to_a_pair_and_opens_its_rows[size0]",
    "test_engine_plan.py::test_counts_and_bytes_are_those_of_the_loaded_model[model-qlora]",
    "test_engine_training_runs.py::test_two_adapters_over_one_base_keep_apart",
    "test_engine_training_runs.py::test_a_real_model_learns_real_rows",
    "test_engine_training_runs.py::test_a_full_disk_keeps_the_last_checkpoint_and_says_so",
    "test_engine_training_runs.py::test_the_store_serves_base_and_tuned_from_one_load[full]",
    "test_engine_training_runs.py::test_the_store_serves_base_and_tuned_from_one_load[qlora]",
    "test_engine_steered.py::test_rate_and_length_change_while_it_runs_and_again_after_a_crash",
    "test_engine_steered.py::test_a_disk_without_room_pauses_until_there_is",
    "test_engine_steered.py::test_a_run_is_shortened",
    "test_engine_training_memory.py::test_other_errors_are_not_taken_for_memory",
    "test_engine_training_memory.py::test_a_resumed_run_begins_with_the_parts_that_fit",
    "test_engine_compare.py::test_runs_of_other_methods_are_further_arms",
    "test_engine_compare.py::test_sampled_answers_repeat_with_their_seed_and_are_averaged",
    "test_tasks_vectors.py::test_steps_are_those_of_the_library_by_hand[pairs]",
    "test_tasks_text_classification.py::test_several_labels_and_numbers[regression]",
    "test_ui_data.py::test_a_file_that_changes_or_goes_while_it_is_open_ends_nothing",
    "test_ui_errors_mend.py::test_a_server_suggests_and_a_person_accepts",
    "test_quality.py::test_the_code_is_clean[types]",
    "test_evaluation_honesty.py::test_a_model_against_itself_is_called_better_or_worse_in_five_of_a_hundred_draws_at_most",
)
# Whole files of such proofs.
LONG_FILES = (
    "test_engine_chat.py", "test_engine_memory.py", "test_engine_steered.py", "test_methods_matrix.py",
    "test_tasks_pictures.py", "test_tasks_vectors.py", "test_ui_errors_mend.py",
    "test_engine_training_memory.py", "test_ui_recipe.py", "test_ui_data.py",
    "test_ui_data_opening.py", "test_ui_data_repairs.py", "test_ui_errors_back.py",
)  # fmt: skip
# Files that take longest begin first: a worker that gets one of them last would leave the other idle.
FIRST = ("test_demo_loop.py", "test_pty_studio.py", "test_cli_errors.py", "test_engine_compare.py",
         "test_engine_training_runs.py", "test_cli_json.py", "test_engine_generation.py")  # fmt: skip
WIDE = "size1]"  # the screen tests at their second size; the shell's stay


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the LONG and WIDE ones; put the FIRST files first."""
    for item in items:
        name = item.nodeid.rpartition("tests/")[2] or item.nodeid
        wide = name.startswith("test_ui_") and name.endswith(WIDE) and not name.startswith("test_ui_shell")
        if wide or name in LONG or name.partition("::")[0] in LONG_FILES:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real public data and models; tests that use it skip where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"real data is not at {SHARED}")
    return SHARED


@pytest.fixture
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pilot presses the next key as soon as the screen has taken in the last."""
    from screens import quicken

    quicken(monkeypatch)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Starts processes that have torch loaded already."""
    mother = Nursery()
    yield mother
    mother.close()


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test ever writes to the person's own workspace."""
    monkeypatch.setenv("FTSTUDIO_WORKSPACE", str(tmp_path / "studio"))
