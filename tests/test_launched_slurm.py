"""The batch script for SLURM, run as SLURM runs it: on two nodes, told to stop, and requeued.

SLURM itself is stood in for by two commands of its own names: `scontrol` tells the nodes, and `srun` starts what it is
given once for each node and hands signals on. All else is the script, torchrun and the real command.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from nursery import Nursery
from paced import last_step, until
from test_launched import Place, told

from ftstudio.core import launch

SCONTROL = """\
#!/bin/bash
[ "$*" = "show hostnames two-nodes" ] && printf '127.0.0.1\\n127.0.0.2\\n'
"""
SRUN = """\
#!/bin/bash
echo $$ > srun.pid
trap 'kill -TERM $(jobs -p)' TERM
for node in 0 1; do SLURM_NODEID=$node "$@" & done
failed=0
for job in $(jobs -p); do
  while kill -0 $job 2>/dev/null; do wait $job; ended=$?; done
  [ $ended = 0 ] || failed=1
done
exit $failed
"""


def submitted(place: Path, script: Path, job: int) -> subprocess.Popen[bytes]:
    """SCRIPT as SLURM starts it as JOB on the first of two nodes, with its output in a file."""
    tools = place / "bin"
    tools.mkdir(exist_ok=True)
    for name, text in (("scontrol", SCONTROL), ("srun", SRUN)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {
        **os.environ, "PATH": path, "SLURM_JOB_ID": str(job), "SLURM_JOB_NODELIST": "two-nodes", "SLURM_NNODES": "2",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    with (place / "out.txt").open("ab") as out:
        return subprocess.Popen(
            ["bash", str(script)], cwd=place, env=environment, stdout=out, stderr=out, start_new_session=True
        )


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_job_on_two_nodes_stops_with_a_checkpoint_and_goes_on_when_requeued(nursery: Nursery, tmp_path: Path):
    place = Place.make(tmp_path, nursery, steps=150)
    recipe = tmp_path / "for2.yaml"
    recipe.write_text(recipe.read_text().replace("save_steps: 4", "save_steps: 1000"))
    script = tmp_path / "job.sh"
    script.write_text(launch.slurm(str(recipe), 1, 2, str(tmp_path / "run")))
    job = os.getpid()
    with submitted(tmp_path, script, job) as first:
        until(lambda: place.workspace("run").runs() and last_step(place.last("run")) >= 3, "training", 200)
        os.kill(int((tmp_path / "srun.pid").read_text()), signal.SIGTERM)  # five minutes before the end
        assert first.wait(120) != 0
    said = (tmp_path / "out.txt").read_text()
    run = place.last("run")
    assert (run.name, run.state()) == (f"job-{job}-1", "stopped"), said
    reached = last_step(run)
    assert 3 <= reached < 150
    assert told(run, "start")[0]["processes"] == 2
    with submitted(tmp_path, script, job) as second:
        assert second.wait(300) == 0, (tmp_path / "out.txt").read_text()[-2000:]
    assert [one.name for one in place.workspace("run").runs()] == [run.name]  # the same run, to its end
    assert run.state() == "done"
    assert told(run, "start")[-1]["resumed_from"] == reached
    assert last_step(run) == 150
