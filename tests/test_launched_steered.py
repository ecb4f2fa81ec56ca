"""A run of several processes whose length was changed in a pause, and that was killed then: all go on alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from nursery import Nursery
from paced import PROGRAM
from test_launched import Place, told

# pauses at step 4, where a checkpoint is due, is lengthened while it does, and dies at step DIES
LENGTHENED = PROGRAM.replace(
    "from ftstudio.cli import main",
    """
from ftstudio.engine import control, together
control.EVERY = 0.0
dies, rank = int(os.environ.get("DIES", "0")), os.environ["RANK"]
def note(trainer):
    total = sum(float(item.detach().double().abs().sum()) for item in trainer.model.parameters() if item.requires_grad)
    with open(f"{os.environ['NOTES']}.rank{rank}", "a") as file:
        print(trainer.state.global_step, repr(total), file=file)
    if trainer.state.global_step == dies:
        os._exit(9)
leads, follows, rest = together.Leader.stepped, together.Follower.stepped, callback.RunDirector._rest
def leading(self, trainer, logs):
    if trainer.state.global_step == 3 and os.environ.get("PAUSES"):
        self.folder.request("pause")
    leads(self, trainer, logs)
    note(trainer)
def following(self, trainer, logs):
    follows(self, trainer, logs)
    note(trainer)
def resting(self, trainer):
    self.folder.request("steps", value=14)
    self.folder.request("resume")
    rest(self, trainer)
together.Leader.stepped, together.Follower.stepped, callback.RunDirector._rest = leading, following, resting
from ftstudio.cli import main""",
)


def weights(place: Place, name: str, rank: int) -> dict[int, str]:
    """What RANK's weights come to after each step; of steps that were taken twice, the later."""
    lines = (place.path / f"{name}.rank{rank}").read_text().splitlines()
    return {int(step): total for step, total in (line.split() for line in lines)}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_length_changed_in_a_pause_counts_alike_in_all_processes_after_a_crash(nursery: Nursery, tmp_path: Path):
    place = Place.make(tmp_path, nursery, steps=8)
    (place.path / "program.py").write_text(LENGTHENED)
    words = ["train", "for2.yaml", "training.scheduler=linear", "training.warmup=0", "evaluation.every=100"]
    env = {"PAUSES": "1"}
    assert place.ended(place.launched(2, "whole", *words, NOTES="kept", **env)) == [0, 0], place.said("whole")
    assert 9 in place.ended(place.launched(2, "run", *words, NOTES="lost", DIES="7", **env))
    resumed = place.launched(2, "run", "train", "--resume", "last", NOTES="notes")
    assert place.ended(resumed) == [0, 0], place.said("run")
    run = place.last("run")
    assert [(start["resumed_from"], start["total_steps"]) for start in told(run, "start")] == [(None, 8), (4, 14)]
    assert [(change["step"], change["what"]) for change in told(run, "steer")] == [(4, "steps")]
    assert not [alert for alert in told(run, "alert") if alert.get("watch") == "resume_fault"]
    expected = weights(place, "kept", 0)
    assert max(expected) == 14
    assert expected == weights(place, "kept", 1)
    after = {step: total for step, total in expected.items() if step > 4}
    assert weights(place, "notes", 0) == after
    assert weights(place, "notes", 1) == after


# rate and length are asked for after step 5, one right after the other, as a person would while it runs
ASKED = PROGRAM.replace(
    "from ftstudio.cli import main",
    """
import signal
from ftstudio.engine import control, together
control.EVERY = 0.0
def asking(leads):
    def then(self, trainer, logs):
        if trainer.state.global_step == 5 and os.environ.get("ASKS"):
            self.folder.request("learning_rate", value=5e-4)
            self.folder.request("steps", value=16)
        leads(self, trainer, logs)
    return then
kind = together.Leader if os.environ.get("RANK") else callback.RunDirector
kind.stepped = asking(kind.stepped)
def dies(self, trainer, logs):
    follows(self, trainer, logs)
    if str(trainer.state.global_step) == os.environ.get("DIES"):
        os.kill(os.getpid(), signal.SIGKILL)
follows, together.Follower.stepped = together.Follower.stepped, dies
from ftstudio.cli import main""",
)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rate_and_length_changed_while_it_runs_count_as_in_one_process_and_after_a_crash(
    nursery: Nursery, tmp_path: Path
):
    place = Place.make(tmp_path, nursery, steps=10)
    (place.path / "program.py").write_text(ASKED)
    words = ["training.scheduler=linear", "training.warmup=0", "evaluation.every=100"]
    one = place.launched(1, "one", "train", "for1.yaml", *words, ASKS="1")
    two = place.launched(2, "two", "train", "for2.yaml", *words, ASKS="1")
    assert place.ended([*one, *two]) == [0, 0, 0], place.said("two")
    expected, found = (
        {event["step"]: (event["loss"], event["grad_norm"], event["lr"]) for event in told(run, "step")}
        for run in (place.last("one"), place.last("two"))
    )
    assert set(expected) == set(found) == set(range(1, 17))
    for step, values in expected.items():
        assert found[step] == pytest.approx(values, rel=1e-4), step
    rates = {step: values[2] for step, values in expected.items()}
    assert rates[5] == pytest.approx(1e-3 * (1 - 4 / 10))
    assert rates[6] == pytest.approx(1e-3 * (1 - 5 / 10))
    assert rates[7] == pytest.approx(5e-4 * (1 - 6 / 16))
    for dies in ("6", "11"):  # before and after a checkpoint that knows of the changes
        name = f"at{dies}"
        lost = place.launched(2, name, "train", "for2.yaml", *words, ASKS="1", DIES=dies)
        assert place.ended(lost) == [1, -9]
        assert place.ended(place.launched(2, name, "train", "--resume", "last")) == [0, 0], place.said(name)
        run = place.last(name)
        again = {event["step"]: (event["loss"], event["grad_norm"], event["lr"]) for event in told(run, "step")}
        print(dies, [(start["resumed_from"], start["total_steps"]) for start in told(run, "start")], told(run, "steer"))
        assert again == found  # bit by bit
        assert not [alert for alert in told(run, "alert") if alert.get("watch") == "resume_fault"]
