"""Workers are kept, share the cores, are replaced when they are lost, and stop when they are told."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from engine_work import Dying, Sleeping, Square, Unreadable, Whoami
from gpu_machine import smi

from nlbench.errors import NlbenchError
from nlbench.stopping import Stopping
from nlbench.sweep import gpus, local
from nlbench.sweep.engines import Needs, drive
from nlbench.sweep.local import Local


def test_workers_are_kept_and_lost_ones_replaced(tmp_path: Path) -> None:
    with Local(1, Needs(threads=3)) as engine:
        works = [Whoami(), Whoami(), Dying(tmp_path, 1), Whoami()]
        first, second, reborn, third = [end.value for _, end in drive(engine, works, Stopping())]
        assert first == (first[0], 1, "3")
        assert second == (first[0], 2, "3")
        assert third == (reborn, 1, "3")
        assert len({os.getpid(), first[0], reborn}) == 3
        ((_, unread),) = drive(engine, [Unreadable()], Stopping())
        assert (unread.how, unread.error.partition(" (")[0]) == ("failed", "ValueError: not here")
        began, stopping = time.monotonic(), Stopping()
        engine.submit(0, Sleeping(600))
        time.sleep(0.3)
        engine.interrupt()
        (end,) = engine.ended(60)
        assert end.how == "interrupted"
        assert time.monotonic() - began < 60
        assert stopping.signal is None


def test_work_is_interrupted_before_its_worker_is_ready() -> None:
    began = time.monotonic()
    with Local(1, Needs()) as engine:
        engine.submit(7, Sleeping(600))
        engine.interrupt()
        (end,) = engine.ended(60)
    assert (end.number, end.how, end.error) == (7, "interrupted", "interrupted before it began")
    assert time.monotonic() - began < 60


def test_a_worker_that_cannot_start_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "false")
    with Local(1, Needs()) as engine, pytest.raises(NlbenchError, match=r"a worker ended with exit code 1 before it was ready"):
        list(drive(engine, [Square(1)], Stopping()))


def test_writing_to_a_worker_that_has_ended_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "false")
    with Local(1, Needs()) as engine:
        engine.start()
        time.sleep(0.5)
        with pytest.raises(NlbenchError, match="exit code 1 before it was ready"):
            list(drive(engine, [Square(1)], Stopping()))


def test_each_worker_sees_the_gpu_of_its_place_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []

    class Noted:
        number = None

        def __init__(self, environment: dict[str, str], inbox: object) -> None:
            seen.append((environment["CUDA_VISIBLE_DEVICES"], environment["OMP_NUM_THREADS"]))

        def dismiss(self) -> None: ...

        def end(self) -> None: ...

    smi(tmp_path, monkeypatch, "0, GPU-a, 40960", "1, GPU-b, 20480", "2, GPU-c, 90000")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b,0")
    monkeypatch.setattr(local, "_Worker", Noted)
    monkeypatch.setattr("joblib.cpu_count", lambda: 3)
    with Local(None, Needs(memory=15.0, gpu=True)) as engine:
        assert engine.slots == 3
        engine.start()
    assert seen == [(gpu, str(engine.threads)) for gpu in ("GPU-b", "0", "0")]


@pytest.mark.parametrize(("cores", "threads", "workers"), [(16, None, 5), (3, None, 3), (3, 2, 2), (1, None, 2)])
def test_gpus_have_no_more_workers_than_there_are_cores_but_one_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, threads: int | None, workers: int
) -> None:
    smi(tmp_path, monkeypatch, "0, GPU-a, 40960", "1, GPU-b, 30720")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    assert Local(None, Needs(threads, 12.0, gpu=True)).slots == workers


def test_cores_and_memory_bound_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_free_memory", lambda: 8.0 * gpus.GIB)
    assert local._on_cores(16, Needs()) == 16
    assert local._on_cores(16, Needs(threads=4)) == 4
    assert local._on_cores(16, Needs(memory=3.0)) == 2
    assert local._on_cores(2, Needs(threads=4, memory=100.0)) == 1


def test_what_memory_can_be_had_is_some_and_no_more_than_there_is() -> None:
    assert 2**20 < local._free_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_without_a_gpu_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NlbenchError, match="names no GPU that may be used"):
        Local(None, Needs(gpu=True))
