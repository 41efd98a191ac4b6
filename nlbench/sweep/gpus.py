"""The GPUs of this machine, and the service by which several processes have one at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

GIB: Final = 2**30
CONTROL: Final = "nvidia-cuda-mps-control"
PIPES: Final = "CUDA_MPS_PIPE_DIRECTORY"
USUAL_PIPE: Final = Path("/tmp/nvidia-mps/control")
"""By which a service that was started without a word is asked."""
PATIENCE: Final = 30.0
"""Seconds that the driver's programmes may take."""
KEEPER: Final = f'read -r _; echo quit | {CONTROL}; rm -rf "${PIPES}"'
"""Its input ends with the process that started it."""
CONTEXT: Final = """
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
sys.exit(cuda.cuInit(0) or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(ctypes.c_void_p()), 0))
"""
"""A process that uses a GPU."""


def free_memory() -> dict[str, float]:
    """Return the bytes that are free on each GPU that may be used, by its index or as CUDA_VISIBLE_DEVICES names it; 0 where
    nobody says how many.
    """
    command = ["nvidia-smi", "--query-gpu=index,uuid,memory.free", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return {}
    rows = [row for line in lines if len(row := [part.strip() for part in line.split(",")]) == 3]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return {index: _bytes(free) for index, _, free in rows}
    found: dict[str, float] = {}
    for name in (part.strip() for part in visible.split(",")):
        free = [free for index, uuid, free in rows if name == index or (name.startswith("GPU-") and uuid.startswith(name))]
        if not free and not (rows and name.startswith("MIG-")):
            break  # as CUDA does: what follows a name that is none is not seen
        found[name] = _bytes(free[0]) if free else 0.0
    return found


def _bytes(mebibytes: str) -> float:
    """Return the bytes of what nvidia-smi prints, "[N/A]" among it."""
    try:
        return float(mebibytes) * 2**20
    except ValueError:
        return 0.0


def places(free: Mapping[str, float], memory: float | None) -> list[str]:
    """Return the GPU of each worker, in turns: as many on each as its free memory holds of so many GiB, or one."""
    fit = {gpu: 1 if memory is None else max(1, int(size / (memory * GIB))) for gpu, size in free.items()}
    return [gpu for turn in range(max(fit.values())) for gpu, count in fit.items() if turn < count]


class Service:
    """NVIDIA's multi-process service (MPS): kernels of several processes run side by side on a GPU, which otherwise has one
    process at a time. Of its own folder, and so of nobody else; `environment` is that of the processes that are to use it.

    A keeper ends it when `close` says so, or when this process is gone, however it went. Both are out of reach of a terminal's
    Ctrl-C.
    """

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="nlbench-mps-")
        self.environment = {PIPES: folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        self._keeper = subprocess.Popen(
            ["sh", "-c", KEEPER],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **self.environment},
            start_new_session=True,
        )

    def starts(self) -> bool:
        """Whether it could be started, and a process uses a GPU by it."""
        every_gpu = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        return self._runs([CONTROL, "-d"], every_gpu) and self._runs([sys.executable, "-c", CONTEXT], os.environ)

    def close(self) -> None:
        """Have it ended; where it takes long, the keeper goes on alone."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._keeper.wait(PATIENCE)

    def _runs(self, command: list[str], environment: Mapping[str, str]) -> bool:
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**environment, **self.environment},
                start_new_session=True,
                timeout=PATIENCE,
                check=False,
            )
            return done.returncode == 0
        return False


def service() -> Service | None:
    """Return a service that runs. None where the driver has no such programme, where one runs already, which processes find by
    themselves, and where no GPU can be used by it: processes then take turns.
    """
    if shutil.which(CONTROL) is None or os.environ.get(PIPES) or USUAL_PIPE.exists():
        return None
    found = Service()
    if found.starts():
        return found
    found.close()
    return None
