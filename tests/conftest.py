"""What every test may use."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from nursery import Nursery

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Two workers of the suite on two cores: threads of torch beyond one only wait for each other (40 % of the CPU time).
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples every time; HYPOTHESIS_PROFILE=random draws new ones. A busy machine fails no test.
patient: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("repeatable", derandomize=True, **patient)
settings.register_profile("random", derandomize=False, **patient)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


# Longer forms of what one case in the same file proves already: they run with `-m slow`, so that the quick run stays
# within its eight minutes on two cores.
LONG = (
    "test_real_files.py::test_a_real_file_goes_through_the_loop[gsm8k]",
    "test_real_files.py::test_a_real_file_is_recognised_and_what_is_cut_is_counted[llamafactory-demo]",
    "test_real_files.py::test_a_real_file_is_recognised_and_what_is_cut_is_counted[mlx-wikisql-lora]",
    "test_real_files.py::test_a_real_file_is_recognised_and_what_is_cut_is_counted[openai-cookbook-chat]",
    "test_engine_training_killed.py::test_resuming_after_sigkill_is_exact[full]",
    "test_engine_training_killed.py::test_resuming_after_sigkill_is_exact[qlora]",
    "test_real_files.py::test_a_real_file_goes_through_the_loop[llamafactory-demo]",
    "test_real_files.py::test_a_real_file_goes_through_the_loop[fastchat-sharegpt]",
    "test_real_files.py::test_a_real_file_goes_through_the_loop[openai-cookbook-chat]",
    "test_real_files.py::test_a_real_file_goes_through_the_loop[mlx-wikisql-lora]",
    "test_engine_training_runs.py::test_it_learns[full]",
    "test_engine_training_runs.py::test_it_learns[qlora]",
    "test_engine_training_runs.py::test_what_training_switches_on_the_kept_base_is_switched_off",
    "test_tasks_text_classification.py::test_several_labels_and_numbers[multi]",
    "test_tasks_text_classification.py::test_a_classifier_learns_is_saved_and_compared[full]",
    "test_evaluation_labels.py::test_one_walks_to_a_pair_and_opens_its_rows[size0]",
    "test_engine_plan.py::test_counts_and_bytes_are_those_of_the_loaded_model[model-qlora]",
    "test_engine_training_runs.py::test_two_adapters_over_one_base_keep_apart",
    "test_engine_training_runs.py::test_a_real_model_learns_real_rows",
    "test_engine_training_runs.py::test_the_store_serves_base_and_tuned_from_one_load[full]",
    "test_engine_training_runs.py::test_the_store_serves_base_and_tuned_from_one_load[qlora]",
    "test_engine_compare.py::test_runs_of_other_methods_are_further_arms",
    "test_tasks_text_classification.py::test_several_labels_and_numbers[regression]",
    "test_engine_plan.py::test_planned_steps_are_taken",
    "test_ui_train.py::test_one_step_and_a_hundred_thousand",
    "test_quality.py::test_the_code_is_clean[types]",
    "test_ui_errors_mend.py::test_an_own_category_shows_what_it_catches_while_it_is_written[size0]",
    "test_ui_errors_back.py::test_o_chooses_an_order_and_what_was_looked_at_comes_last[size0]",
    "test_ui_errors_back.py::test_another_session_goes_on_where_one_stopped_at_the_same_pace",
    "test_ui_errors_back.py::test_a_row_that_nothing_is_near_is_told_and_the_index_is_kept",
    "test_ui_errors_back.py::test_reading_the_training_rows_can_be_stopped",
    "test_ui_errors_back.py::test_hostile_training_rows_and_outputs_are_shown_harmlessly",
    "test_ui_errors_back.py::test_several_sources_have_no_version_and_say_so",
    "test_cli_errors.py::test_a_finished_run_whose_files_are_harmed",
    "test_ui_errors_mend.py::test_a_suggested_and_an_own_answer_are_kept_and_become_a_training_row[size0]",
    "test_evaluation_labels.py::test_one_walks_to_a_pair_and_opens_its_rows[size1]",
    "test_ui_runs.py::test_what_happens_elsewhere_is_shown_without_a_key",
    "test_ui_data_opening.py::test_rows_are_there_while_the_rest_is_read[size0]",
    "test_engine_levers.py::test_a_run_with_batches_by_tokens_goes_on_exactly",
    "test_cli_errors.py::test_an_override_that_cant_work[method.targets=[q_prj]]",
    "test_cli_errors.py::test_a_model_folder_that_is_none[of another size]",
    "test_ui_train_views.py::test_rate_and_length_are_asked_for_and_told_until_they_are_changed",
    "test_ui_compare_votes.py::test_arms_are_ticked_and_compared",
    "test_ui_compare_views.py::test_two_of_four_arms_are_held_against_each_other",
    "test_ui_train_views.py::test_runs_are_laid_over_a_baseline_is_pinned_and_recipes_compared",
    "test_ui_errors.py::test_i_reads_answers_from_a_file_and_keeps_the_tags_on_them",
    "test_ui_errors.py::test_next_previous_agree_and_automatic_and_x_writes_it_all",
    "test_ui_runs.py::test_hostile_names_and_broken_folders_are_shown_and_harm_nothing",
    "test_ui_recipe.py::test_a_wrong_value_is_told_beside_its_field[training.epochs--3-must be above 0]",
    "test_real_files.py::test_a_real_file_is_recognised_and_what_is_cut_is_counted[fastchat-sharegpt]",
    "test_engine_export.py::test_gguf_goes_through_the_converter_of_llama_cpp",
    "test_engine_compare.py::test_each_arm_answers_like_a_load_of_its_own[qlora]",
    "test_launched.py::test_two_processes_learn_what_one_does_and_one_writes[lora]",
    "test_ui_compare_views.py::test_parts_of_the_rows_and_totals_have_figures_and_words",
    "test_ui_compare_votes.py::test_what_one_types_is_answered_through_files_and_kept_as_a_row",
    "test_ui_errors.py::test_what_leads_on_and_which_columns_fit",
    "test_ui_errors_back.py::test_m_groups_answers_and_enter_shows_one_groups_rows[size0]",
    "test_ui_runs.py::test_enter_shows_the_run_and_c_compares_it",
    "test_engine_plan.py::test_running_text_is_told_to_be_trained_whole",
    "test_engine_plan.py::test_counts_and_bytes_are_those_of_the_loaded_model[gpt2-qlora]",
    "test_engine_plan.py::test_counts_and_bytes_are_those_of_the_loaded_model[model-full]",
    "test_engine_plan.py::test_tokens_are_those_that_are_trained",
    "test_data_hostile.py::test_a_line_of_100_mb_is_a_row[csv]",
    "test_data_hostile.py::test_a_line_of_100_mb_is_a_row[json]",
    "test_data_hostile.py::test_a_line_of_100_mb_is_a_row[txt]",
    "test_engine_generation.py::test_batches_answer_like_one_row_at_a_time[limits1]",
    "test_engine_generation.py::test_batches_answer_like_one_row_at_a_time[limits2]",
    "test_engine_compare.py::test_every_kind_of_arm_side_by_side",
    "test_engine_compare.py::test_sampled_answers_repeat_with_their_seed_and_are_averaged",
    "test_engine_compare.py::test_each_arm_answers_like_a_load_of_its_own[full]",
    "test_engine_compare.py::test_without_its_embedding_the_rest_is_scored_and_it_is_told",
    "test_engine_compare.py::test_an_answers_room_depends_on_its_own_prompt_alone",
    "test_cli_errors.py::test_demo_is_the_bundled_one_whatever_lies_around",
    "test_ui_train.py::test_every_chart_axis_and_smoothing_has_its_key",
    "test_ui_train.py::test_a_run_of_another_machine_is_watched_and_steered",
    "test_ui_train_views.py::test_a_new_alert_rings_once_and_all_can_be_read",
    "test_ui_compare.py::test_the_report_is_shown_as_it_is[size0]",
    "test_ui_runs.py::test_resuming_hands_the_run_to_the_worker",
    "test_ui_errors.py::test_a_persons_own_category_is_looked_for_and_tagged_with_its_key",
    "test_ui_errors_mend.py::test_before_and_after_a_repair_on_screen[size0]",
    "test_core_folder.py::test_exactly_one_of_several_claimants_becomes_the_owner[no-links]",
    "test_data_mix.py::test_a_mix_with_replay_trains_and_its_recipe_can_be_run_again",
    "test_engine_training_runs.py::test_the_base_of_a_changed_model_is_the_base_as_it_is[adapter]",
    "test_engine_training_runs.py::test_fast_steps_are_told_at_a_bounded_rate_and_the_last_always",
    "test_engine_chat.py::test_an_encoder_decoder_reads_each_text_by_itself",
    "test_ui_shell.py::test_strip_keys_and_help[size1]",
    "test_ui_data_odd.py::test_a_file_that_changes_or_goes_while_it_is_open_ends_nothing",
    "test_ui_errors_back.py::test_near_rows_and_those_with_the_fault_are_shown_repaired_undone_saved_and_lead_to_a_recipe[size0]",
    "test_engine_dynamics.py::test_a_classifier_keeps_how_probable_each_rows_label_was",
    "test_data_checks_meaning.py::test_leaks_planted_in_gsm8k_are_found",
    "test_data_checks.py::TestProfile::test_json_of_a_real_file",
    "test_data_checks.py::TestProfile::test_rows_for_other_tasks_are_described",
    "test_ui_compare.py::test_the_cursor_stays_on_top_until_a_person_moves_it",
    "test_ui_runs.py::test_info_shows_figures_and_recipe[size2]",
    "test_ui_data_pictures.py::test_personal_data_is_masked_until_it_is_asked_for",
    "test_ui_errors.py::test_a_row_shows_why_each_check_fired_and_capitals_tag[size0]",
    "test_engine_compare.py::test_a_server_that_fails_costs_its_arm_alone",
    "test_engine_compare.py::test_a_stop_keeps_what_was_answered_and_the_next_goes_on",
    "test_real_files.py::test_a_real_file_is_recognised_and_what_is_cut_is_counted[gsm8k]",
    "test_engine_training_models.py::test_the_base_stays_loaded_until_another_is_wanted",
    "test_engine_plan.py::test_counts_and_bytes_are_those_of_the_loaded_model[model-lora]",
    "test_ui_runs.py::test_a_run_that_waits_in_another_process_is_told_so_and_only_taken_out",
    "test_engine_training_runs.py::test_rows_that_are_cut_or_left_out_are_counted_and_told",
    "test_ui_data_sheets.py::test_all_that_is_done_is_done_again_without_a_screen",
    "test_real_files.py::test_a_lone_text_column_says_that_all_of_it_is_trained",
    "test_pty_studio.py::test_an_idle_studio_ends_at_once[SIGTERM]",
)
# Whole files of such proofs.
LONG_FILES = (
    "test_methods_matrix.py",
)  # fmt: skip
# Files that take longest begin first: a worker that gets one of them last would leave the other idle.
FIRST = ("test_demo_loop.py", "test_pty_studio.py", "test_cli_errors.py", "test_engine_compare.py",
         "test_engine_training_runs.py", "test_cli_json.py", "test_engine_generation.py")  # fmt: skip
WIDE = "size1]"  # the screen tests at their second size; the shell's stay


# Of these files the tests named here run by default, the others with `-m slow`.
TELLING = {
    "test_engine_steered.py": ("test_back_to_the_last_good_checkpoint",),
    "test_engine_training_memory.py": (),
    "test_ui_recipe.py": (
        "test_six_steps_lead_from_nothing_to_a_run[size0]",
        "test_a_wrong_value_is_told_beside_its_field[training.epochs--3-must be above 0]",
        "test_a_draft_keeps_what_is_wrong_and_says_why_by_key",
        "test_every_field_sets_a_key_that_recipes_know",
        "test_a_preset_tells_what_it_is_and_reads_back",
        "test_tokens_of_labelled_rows_are_not_told_as_a_share_that_is_trained",
        "test_a_value_that_no_recipe_takes_is_refused_where_it_is_typed",
        "test_a_sweep_of_which_some_can_not_begin_says_how_many_and_which",
    ),
}


def pytest_collection() -> None:
    """Libraries and tests are there for good: Python's collector needn't look through half a million objects of theirs
    while they are imported, nor each time that the studio gives memory back."""
    gc.disable()


def pytest_collection_finish() -> None:
    """See `pytest_collection`."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the LONG and WIDE ones; put the FIRST files first."""
    for item in items:
        name = item.nodeid.rpartition("tests/")[2] or item.nodeid
        wide = name.startswith("test_ui_") and name.endswith(WIDE) and not name.startswith("test_ui_shell")
        file, _, test = name.partition("::")
        rest = file in TELLING and test not in TELLING[file]
        if wide or rest or name in LONG or file in LONG_FILES:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real public data and models; tests that use it skip where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"real data is not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Starts processes that have torch loaded already; all workers of a test run share it."""
    base = tmp_path_factory.getbasetemp()
    started = Nursery(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)
    yield started
    started.close()


@pytest.fixture(autouse=True)
def _quick_screens(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pilot presses the next key as soon as the screen has taken in the last; but in files that wait for what they
    look for, it lets a thread of the screen's end first."""
    if request.node.path.name.startswith("test_ui_"):
        from screens import quicken

        quicken(monkeypatch, patient=not request.node.path.name.startswith(("test_ui_data", "test_ui_recipe")))


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test ever writes to the person's own workspace."""
    monkeypatch.setenv("FTSTUDIO_WORKSPACE", str(tmp_path / "studio"))
