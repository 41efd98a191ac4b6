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
USUAL_PIPES: Final = Path("/tmp/nvidia-mps")
"""Where a service that was started without a word is found."""
PATIENCE: Final = 30.0
"""Seconds that the driver's programmes may take."""
CONTEXT: Final = """
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
sys.exit(cuda.cuInit(0) or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(ctypes.c_void_p()), 0))
"""
"""A process that uses a GPU."""


def free_memory() -> dict[str, float]:
    """Return the bytes that are free on each GPU that may be used."""
    command = ["nvidia-smi", "--query-gpu=index,uuid,memory.free", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = None if visible is None else {part.strip() for part in visible.split(",")}
    rows = [[part.strip() for part in line.split(",")] for line in lines]
    return {index: float(free) * 2**20 for index, uuid, free in rows if named is None or named & {index, uuid}}


def places(free: Mapping[str, float], memory: float | None) -> list[str]:
    """Return the GPU of each worker, in turns: as many on each as its free memory holds of so many GiB, or one."""
    fit = {gpu: 1 if memory is None else max(1, int(size / (memory * GIB))) for gpu, size in free.items()}
    return [gpu for turn in range(max(fit.values())) for gpu, count in fit.items() if turn < count]


class Service:
    """NVIDIA's multi-process service (MPS): kernels of several processes run side by side on a GPU, which otherwise has one
    process at a time. Of its own folder, and so of nobody else; `environment` is that of the processes that are to use it.
    """

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="nlbench-mps-")
        self.environment = {PIPES: self._folder, "CUDA_MPS_LOG_DIRECTORY": self._folder}

    def starts(self) -> bool:
        """Whether it could be started, and a process uses a GPU by it."""
        every_gpu = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        return self._runs([CONTROL, "-d"], every_gpu) and self._runs([sys.executable, "-c", CONTEXT], dict(os.environ))

    def close(self) -> None:
        self._runs([CONTROL], dict(os.environ), "quit\n")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _runs(self, command: list[str], environment: dict[str, str], said: str = "") -> bool:
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                command,
                input=said,
                text=True,
                env={**environment, **self.environment},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=PATIENCE,
                check=False,
            )
            return done.returncode == 0
        return False


def service() -> Service | None:
    """Return a service that runs. None where the driver has no such programme, where one runs already, which processes find by
    themselves, and where no GPU can be used by it: processes then take turns.
    """
    if shutil.which(CONTROL) is None or os.environ.get(PIPES) or USUAL_PIPES.exists():
        return None
    found = Service()
    if found.starts():
        return found
    found.close()
    return None
