"""A Ray cluster runs what worker processes run: a worker that is killed costs its time alone, and what can never run is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from engine_work import Raising, Sleeping, Square
from small_streams import rows_by_seed

import nlbench
from nlbench.errors import NlbenchError
from nlbench.plan import Machine
from nlbench.records import read_record
from nlbench.stopping import Stopping
from nlbench.sweep import Here, on_ray, sweep
from nlbench.sweep.engines import Needs, drive, import_path
from nlbench.sweep.on_ray import OnRay

ray = pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")  # which Ray brings
pytestmark = pytest.mark.slow
CPU = Machine(device="cpu")


def begin(path: str) -> None:
    """Begin a cluster of two cores, whose workers look there for modules."""
    variables = {"env_vars": {"PYTHONPATH": path}}
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=variables)


def killed_one() -> bool:
    """Kill a worker that is at work, if there is one, and return whether."""
    for process in psutil.Process().children(recursive=True):
        if process.cmdline()[:1] == ["ray::_performed"]:
            process.kill()
            return True
    return False


@pytest.fixture
def engine() -> Iterator[OnRay]:
    begin(import_path())
    yield OnRay(None, None, Needs())
    ray.shutdown()


def test_a_cluster_of_two_loses_a_worker_and_makes_the_records_of_one_process(engine: OnRay, tmp_path: Path) -> None:
    assert (engine.slots, engine.threads) == (2, 1)
    rates = [f"{0.005 * n:.3f}" for n in range(1, 61)]
    plans = [nlbench.resolve("mlp", "split-digits", seeds=2, overrides={"learner.rate": rate}) for rate in rates]
    states, killed = [], False
    for outcome in sweep(plans, tmp_path / "ray", engine, CPU):
        states.append(outcome.state)
        if len(states) > 30 and not killed:
            killed = killed_one()
    assert (states, killed) == (["run"] * 60, True)
    assert [one.state for one in sweep(plans, tmp_path / "here", Here(1), CPU)] == ["run"] * 60
    for plan in plans:
        made, alone = (read_record(plan.record_path(tmp_path / name)) for name in ("ray", "here"))
        assert rows_by_seed(made) == rows_by_seed(alone)


def test_what_work_raises_comes_back(engine: OnRay) -> None:
    ends = dict(drive(engine, [Square(3), Raising("told"), Raising("defect")], Stopping()))
    assert ends[Square(3)].value == 9
    assert ends[Raising("told")].error == "the rule is broken. Mend it."
    assert ends[Raising("defect")].how == "failed"


def test_a_signal_ends_what_runs_and_what_waits(engine: OnRay) -> None:
    began, stopping = monotonic(), Stopping()
    ends = drive(engine, [Square(3), Sleeping(600), Sleeping(601), Sleeping(602)], stopping)
    assert next(ends)[1].value == 9
    stopping.signal = 2
    assert {end.how for _, end in ends} == {"interrupted"}
    assert monotonic() - began < 60


def test_what_no_machine_of_the_cluster_holds_is_refused(engine: OnRay) -> None:
    with pytest.raises(NlbenchError, match=r"no machine of the Ray cluster has 3 cores for a cell: at most 2 cores\. Ask"):
        OnRay(None, None, Needs(threads=3))
    with pytest.raises(NlbenchError, match=r"has 1 cores and 1000000\.0 GiB for a cell: at most 2 cores and"):
        OnRay(None, None, Needs(memory=1e6))
    for memory in (None, 1.0):
        with pytest.raises(NlbenchError, match=r"1 GPUs for a cell: at most .*0 GPUs"):
            OnRay(None, None, Needs(memory=memory, gpu=True))


def test_a_cluster_of_its_own_finds_what_this_process_finds() -> None:
    with OnRay(None, 1, Needs()) as engine:
        assert engine.slots == 1
        assert [end.value for _, end in drive(engine, [Square(4)], Stopping())] == [16]
    assert not ray.is_initialized()


def test_workers_that_cannot_start_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "ANSWER", 10.0)
    (tmp_path / "ray.py").write_text("raise ImportError('another one')")
    begin(str(tmp_path))
    try:
        with pytest.raises(NlbenchError, match=r"no worker of the Ray cluster has started within 10 s\. Its logs say why"):
            OnRay(None, None, Needs())
    finally:
        ray.shutdown()


def test_a_cluster_that_is_not_there_is_told() -> None:
    with pytest.raises(NlbenchError, match=r"no Ray cluster at auto: .* `ray start --head` begins one"):
        OnRay("auto", None, Needs())
