"""A Ray cluster runs what worker processes run: a worker that is killed costs nothing but its time."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from engine_work import Raising, Square
from small_streams import rows_by_seed

import nlbench
from nlbench.plan import Machine
from nlbench.records import read_record
from nlbench.stopping import Stopping
from nlbench.sweep import Here, sweep
from nlbench.sweep.engines import Needs, drive

ray = pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")
pytestmark = pytest.mark.slow
CPU = Machine(device="cpu")
TESTS = Path(__file__).parents[1]


@pytest.fixture
def engine() -> Any:
    from nlbench.sweep.on_ray import OnRay

    path = {"env_vars": {"PYTHONPATH": os.pathsep.join(map(str, (TESTS, TESTS.parent)))}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=path)
    yield OnRay(None, None, Needs())
    ray.shutdown()


def test_a_cluster_of_two_loses_a_worker_and_makes_the_records_of_one_process(engine: Any, tmp_path: Path) -> None:
    assert (engine.slots, engine.threads) == (2, 1)
    rates = [f"{0.005 * n:.3f}" for n in range(1, 61)]
    plans = [nlbench.resolve("mlp", "split-digits", seeds=2, overrides={"learner.rate": rate}) for rate in rates]
    states = []
    for number, outcome in enumerate(sweep(plans, tmp_path / "ray", engine, CPU)):
        states.append(outcome.state)
        if number == 30:
            commands = {one.pid: " ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])}
            os.kill(next(pid for pid, command in commands.items() if "ray::_performed" in command), signal.SIGKILL)
    assert states == ["run"] * 60
    assert [one.state for one in sweep(plans, tmp_path / "here", Here(1), CPU)] == ["run"] * 60
    for plan in plans:
        made, alone = (read_record(plan.record_path(tmp_path / name)) for name in ("ray", "here"))
        assert rows_by_seed(made) == rows_by_seed(alone)


def test_what_work_raises_comes_back(engine: Any) -> None:
    ends = dict(drive(engine, [Square(3), Raising("told"), Raising("defect")], Stopping()))
    assert ends[Square(3)].value == 9
    assert ends[Raising("told")].error == "the rule is broken. Mend it."
    assert ends[Raising("defect")].how == "failed"
