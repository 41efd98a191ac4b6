"""Which GPUs are used by how many workers, and that those of one run side by side where the driver can have it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from engine_work import Whoami
from gpu_machine import control, smi

from nlbench.stopping import Stopping
from nlbench.sweep import gpus, local
from nlbench.sweep.engines import Needs, drive
from nlbench.sweep.local import Local


@pytest.mark.parametrize(
    ("free", "memory", "places"),
    [
        ({"0": 80.0}, None, ["0"]),
        ({"0": 80.0, "1": 20.0}, None, ["0", "1"]),
        ({"0": 80.0, "1": 20.0}, 15.0, ["0", "1", "0", "0", "0", "0"]),
        ({"0": 8.0}, 15.0, ["0"]),
    ],
)
def test_gpus_are_shared_by_memory(free: dict[str, float], memory: float | None, places: list[str]) -> None:
    assert gpus.places({gpu: size * gpus.GIB for gpu, size in free.items()}, memory) == places


def test_only_gpus_that_are_visible_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(tmp_path, monkeypatch, "0, GPU-a, 1024", "1, GPU-b, 2048")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus.free_memory() == {"0": float(gpus.GIB), "1": 2.0 * gpus.GIB}
    for visible in ("1", "GPU-b"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert list(gpus.free_memory()) == ["1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not gpus.free_memory()


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a service is asked on a machine of two GPUs, by which any process can use them."""
    smi(tmp_path, monkeypatch, "0, GPU-a, 40960", "1, GPU-b, 40960")
    control(tmp_path, tmp_path / "log")
    monkeypatch.setattr(gpus, "CONTEXT", "")
    monkeypatch.setattr(gpus, "USUAL_PIPES", tmp_path / "none")
    monkeypatch.delenv(gpus.PIPES, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    return tmp_path / "log"


def environments(monkeypatch: pytest.MonkeyPatch, workers: int) -> list[dict[str, str]]:
    """Return those of the processes that an engine starts on the GPU."""
    seen: list[dict[str, str]] = []
    worker = local._Worker

    class Noted(worker):  # type: ignore[misc,valid-type]
        def __init__(self, environment: dict[str, str], inbox: object) -> None:
            seen.append(environment)
            super().__init__(environment, inbox)

    monkeypatch.setattr(local, "_Worker", Noted)
    with Local(workers, Needs(gpu=True)) as engine:
        assert [end.how for _, end in drive(engine, [Whoami()] * workers, Stopping())] == ["done"] * workers
    return seen


def test_workers_of_one_gpu_have_a_service_of_their_own(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = environments(monkeypatch, 2)
    folder = first[gpus.PIPES]
    assert folder == second[gpus.PIPES]
    assert log.read_text().splitlines() == [f"-d {folder} all", f"quit {folder} 0"]
    assert not Path(folder).exists()


def test_a_worker_alone_on_its_gpu_needs_none(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (only,) = environments(monkeypatch, 1)
    assert gpus.PIPES not in only
    assert not log.exists()


def test_a_service_by_which_no_gpu_can_be_used_is_ended(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "CONTEXT", "import sys; sys.exit(3)")
    assert gpus.service() is None
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["-d", "quit"]


@pytest.mark.parametrize("told", [False, True])
def test_a_service_that_runs_already_is_left_alone(
    log: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, told: bool
) -> None:
    if told:
        monkeypatch.setenv(gpus.PIPES, str(tmp_path))
    else:
        monkeypatch.setattr(gpus, "USUAL_PIPES", tmp_path)
    assert gpus.service() is None
    assert not log.exists()


def test_without_the_programme_there_is_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(gpus.PIPES, raising=False)
    assert gpus.service() is None


@pytest.mark.gpu
def test_two_processes_use_a_gpu_by_the_service() -> None:
    if (found := gpus.service()) is None:
        pytest.skip("this machine has no multi-process service to start")
    try:
        product = "import torch; x = torch.ones(64, 64, device='cuda'); print(int((x @ x).sum()))"
        command = [sys.executable, "-c", product]
        environment = {**os.environ, **found.environment}
        both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        assert [each.communicate(timeout=120)[0].strip() for each in both] == [str(64**3)] * 2
    finally:
        found.close()
    assert not Path(found.environment[gpus.PIPES]).exists()
