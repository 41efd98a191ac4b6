"""Workers of this machine: processes that stay, each with its share of the cores, or of a GPU by memory."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import joblib

from nlbench.errors import NlbenchError
from nlbench.sweep import gpus
from nlbench.sweep.engines import READY, Ended, Engine, Needs, Packed, Work, import_path, unasked

THREADS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
PATIENCE: Final = 5.0
"""Seconds after which a worker that was told to end, and performs nothing, is ended."""


class Local(Engine):
    """Worker processes, as many as the cores or GPUs hold; one that is lost is replaced when there is work for it."""

    def __init__(self, workers: int | None, needs: Needs) -> None:
        cores = int(joblib.cpu_count())
        places = _on_gpus(cores, needs) if needs.gpu else [None] * _on_cores(cores, needs)
        self.slots = workers or len(places)
        self.threads = needs.threads or max(1, cores // self.slots)
        self._places = [places[number % len(places)] for number in range(self.slots)]
        self._crowded = needs.gpu and len(set(self._places)) < self.slots
        self._service: gpus.Service | None = None
        self._workers: list[_Worker | None] = [None] * self.slots
        self._inbox: queue.SimpleQueue[tuple[_Worker, Any]] = queue.SimpleQueue()
        self._halted = False

    def start(self) -> None:
        for number in range(self.slots):
            self._worker(number)

    def submit(self, number: int, work: Work) -> None:
        message = pickle.dumps((number, Packed.of(work)), pickle.HIGHEST_PROTOCOL)
        free = next(n for n, worker in enumerate(self._workers) if worker is None or worker.number is None)
        self._worker(free).send(number, message)

    def ended(self, timeout: float) -> list[Ended]:
        found: list[Ended] = []
        with suppress(queue.Empty):
            while True:
                found += self._heard(*self._inbox.get(timeout=0.0 if found else timeout))
        return found

    def interrupt(self) -> None:
        self._halted = True
        for worker in self._workers:
            if worker is not None and worker.number is not None:
                # one that is not ready has begun nothing, and would not heed a signal
                (worker.interrupt if worker.ready else worker.end)()

    def close(self) -> None:
        alive = [worker for worker in self._workers if worker is not None]
        for worker in alive:
            worker.dismiss()
        for worker in alive:
            worker.end()
        self._workers = [None] * self.slots
        if self._service is not None:
            self._service.close()
            self._service = None

    def _worker(self, place: int) -> _Worker:
        """Return the worker of a place, started where there is none."""
        worker = self._workers[place]
        if worker is None:
            if self._crowded and not any(self._workers):
                self._service = self._service or gpus.service()
            gpu = self._places[place]
            devices = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
            devices |= {} if self._service is None else self._service.environment
            threads = dict.fromkeys(THREADS, str(self.threads))
            worker = self._workers[place] = _Worker({**os.environ, **threads, **devices}, self._inbox)
        return worker

    def _heard(self, worker: _Worker, message: Any) -> list[Ended]:
        """Return what a worker's message says has ended; None says that the worker has."""
        if message == READY:
            worker.ready = True
            return []
        number, worker.number = worker.number, None
        if message is not None:
            return [message if self._halted else unasked(message)]
        self._workers[self._workers.index(worker)] = None
        worker.dismiss()
        how = worker.ended()
        if not worker.ready and self._halted:
            return [] if number is None else [Ended(number, "interrupted", error="interrupted before it began")]
        if not worker.ready:
            raise NlbenchError(f"a worker ended with {how} before it was ready.", "What it printed above says why.")
        return [] if number is None else [Ended(number, "lost", error=f"its worker ended with {how}")]


class _Worker:
    """One process, and a thread that puts what it says into an inbox."""

    def __init__(self, environment: dict[str, str], inbox: queue.SimpleQueue[tuple[_Worker, Any]]) -> None:
        self.number: int | None = None
        """Of the work that it performs."""
        self.ready = False
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from nlbench.sweep.worker import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, "PYTHONPATH": import_path()},
            start_new_session=True,  # the terminal's Ctrl-C is for whoever started it, who tells
        )
        self._inbox = inbox
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, number: int, message: bytes) -> None:
        assert self._process.stdin is not None
        self.number = number
        with suppress(OSError):  # it has ended, as its inbox says
            self._process.stdin.write(message)
            self._process.stdin.flush()

    def interrupt(self) -> None:
        with suppress(OSError):
            self._process.send_signal(signal.SIGINT)

    def dismiss(self) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def end(self) -> None:
        try:
            self._process.wait(PATIENCE if self.number is None else 0.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ended(self) -> str:
        """Return how the process ended, in words."""
        code = self._process.wait()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _listen(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        with stream:
            while True:
                try:
                    self._inbox.put((self, pickle.load(stream)))
                except (EOFError, pickle.UnpicklingError):
                    self._inbox.put((self, None))
                    return


def _on_gpus(cores: int, needs: Needs) -> list[str]:
    """Return the GPU of each worker, one a GPU or as many as memory and cores hold. Raises `NlbenchError` where there is none."""
    if not (free := gpus.free_memory()):
        raise NlbenchError("device 'cuda': nvidia-smi names no GPU that may be used.", "Use --device cpu.")
    return gpus.places(free, needs.memory)[: max(len(free), cores // (needs.threads or 1))]


def _on_cores(cores: int, needs: Needs) -> int:
    """Return how many workers the cores and the memory hold."""
    fit = cores // (needs.threads or 1)
    if needs.memory is not None:
        fit = min(fit, int(_free_memory() / (needs.memory * gpus.GIB)))
    return max(1, fit)


def _free_memory() -> float:
    """Return the bytes that can be had, as Linux says; where nothing does, infinity."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("inf")
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), float("inf"))
