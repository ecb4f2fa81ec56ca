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
