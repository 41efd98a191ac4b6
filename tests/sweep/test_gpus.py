"""Which GPUs are used by how many workers, and that those of one run side by side where the driver can have it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
        assert gpus.free_memory() == {visible: 2.0 * gpus.GIB}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not gpus.free_memory()


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1,0", ["1", "0"]),
        ("GPU-bb", ["GPU-bb"]),
        ("0,-1,1", ["0"]),
        ("0,7,1", ["0"]),
        ("MIG-c", ["MIG-c"]),
        ("-1", []),
    ],
)
def test_gpus_are_named_as_cuda_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]
) -> None:
    smi(tmp_path, monkeypatch, "0, GPU-aaa, 1024", "1, GPU-bbb, 2048")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert list(gpus.free_memory()) == names


@pytest.mark.parametrize("unknown", ["[N/A]", "[Insufficient Permissions]"])
def test_a_gpu_of_unknown_memory_has_one_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unknown: str) -> None:
    smi(tmp_path, monkeypatch, f"0, GPU-a, {unknown}", "", "1, GPU-b, 40960")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    free = gpus.free_memory()
    assert free == {"0": 0.0, "1": 40.0 * gpus.GIB}
    assert gpus.places(free, 20.0) == ["0", "1", "1"]


def test_where_there_are_none_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(tmp_path, monkeypatch, "No devices were found")
    for visible in (None, "0", "MIG-c"):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert not gpus.free_memory()


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a service is asked on a machine of two GPUs, by which any process can use them."""
    smi(tmp_path, monkeypatch, "0, GPU-a, 40960", "1, GPU-b, 40960")
    control(tmp_path, tmp_path / "log")
    monkeypatch.setattr(gpus, "CONTEXT", "")
    monkeypatch.setattr(gpus, "USUAL_PIPE", tmp_path / "none")
    monkeypatch.delenv(gpus.PIPES, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    return tmp_path / "log"


def environments(monkeypatch: pytest.MonkeyPatch, workers: int) -> list[dict[str, str]]:
    """Return those of the processes that an engine starts on the GPU."""
    seen: list[dict[str, str]] = []
    begin = local._Worker.__init__

    def noted(self: local._Worker, environment: dict[str, str], inbox: Any) -> None:
        seen.append(environment)
        begin(self, environment, inbox)

    monkeypatch.setattr(local._Worker, "__init__", noted)
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


def test_a_service_is_ended_however_its_process_went(log: Path) -> None:
    begun = f"""
import os, signal
from nlbench.sweep import gpus
gpus.CONTEXT, gpus.USUAL_PIPE = "", gpus.Path({str(log.parent / "none")!r})
print(gpus.service().environment[gpus.PIPES], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", begun], stdout=subprocess.PIPE, text=True, check=False)
    folder = Path(done.stdout.strip())
    until(lambda: not folder.exists())
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["-d", "quit"]


def test_one_that_is_slow_to_end_keeps_its_folder_and_nobody_waiting(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = gpus.service()
    assert found is not None
    assert os.getsid(found._keeper.pid) != os.getsid(0)  # a terminal's Ctrl-C does not reach it
    folder, go_on = Path(found.environment[gpus.PIPES]), log.parent / "go on"
    control(log.parent, log, f"while [ ! -e '{go_on}' ]; do sleep 0.05; done")
    monkeypatch.setattr(gpus, "PATIENCE", 0.1)
    found.close()
    assert folder.exists()
    go_on.touch()
    until(lambda: not folder.exists())


def until(there: Callable[[], bool]) -> None:
    """Wait for it, ten seconds at most."""
    end = time.monotonic() + 10
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("told", [False, True])
def test_a_service_that_runs_already_is_left_alone(
    log: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, told: bool
) -> None:
    if told:
        monkeypatch.setenv(gpus.PIPES, str(tmp_path))
    else:
        monkeypatch.setattr(gpus, "USUAL_PIPE", tmp_path)
    assert gpus.service() is None
    assert not log.exists()


def test_without_the_programme_there_is_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(gpus.PIPES, raising=False)
    assert gpus.service() is None


@pytest.mark.gpu
@pytest.mark.skipif(
    shutil.which(gpus.CONTROL) is None or gpus.PIPES in os.environ or gpus.USUAL_PIPE.exists(),
    reason="the driver has no multi-process service, or one runs already",
)
def test_two_processes_use_a_gpu_by_the_service() -> None:
    found = gpus.service()
    assert found is not None
    try:
        product = "import torch; x = torch.ones(64, 64, device='cuda'); print(int((x @ x).sum()))"
        command = [sys.executable, "-c", product]
        environment = {**os.environ, **found.environment}
        both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        assert [each.communicate(timeout=120)[0].strip() for each in both] == [str(64**3)] * 2
    finally:
        found.close()
    assert not Path(found.environment[gpus.PIPES]).exists()
