"""A Ray cluster as engine: every piece of work a task, with its needs in cores, memory and parts of a GPU (extra `ray`)."""

from __future__ import annotations

import logging
from functools import lru_cache
from time import monotonic
from typing import Any, Final

from nlbench.errors import NlbenchError
from nlbench.sources import keep_last
from nlbench.sweep.engines import Ended, Engine, Needs, Packed, Work, performed, unasked

GIB: Final = 2**30
LOOK_AGAIN: Final = 10.0
"""Seconds after which a cluster is asked anew how large it is."""


class OnRay(Engine):
    """The cluster at an address, `auto` the one that this machine belongs to; without one, a cluster of this machine alone.

    The results folder and the data must be at the same place on every machine. Raises `NlbenchError` without the extra, and
    where no cluster answers.
    """

    def __init__(self, address: str | None, workers: int | None, needs: Needs) -> None:
        try:
            import ray
        except ImportError:
            raise NlbenchError("the engine ray needs the extra `ray`.", 'Get it: pip install "nlbench[ray]".') from None
        self._ray = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            self._connect(address)
        self._workers = workers
        self.threads = needs.threads or 1
        self._asks = {"num_cpus": self.threads, "max_retries": 0, **self._share(needs)}
        self._task = ray.remote(**self._asks)(_performed)  # type: ignore[call-overload, unused-ignore]  # ray may not be there
        self._running: dict[Any, int] = {}
        self._halted = False

    @property
    def slots(self) -> int:  # type: ignore[override]
        """How many tasks the cluster holds, as it was some seconds ago at most."""
        return self._fit(int(monotonic() // LOOK_AGAIN))

    @lru_cache(maxsize=1)  # noqa: B019 - an engine or two in a process
    def _fit(self, tick: int) -> int:
        has = self._ray.cluster_resources()
        gpu = self._asks.get("num_gpus")
        fit = int(has.get("GPU", 0) / gpu) if gpu else int(has.get("CPU", 1) // self.threads)
        return max(1, min(fit, self._workers or fit))

    def submit(self, number: int, work: Work) -> None:
        self._running[self._task.remote(number, Packed.of(work))] = number

    def ended(self, timeout: float) -> list[Ended]:
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout)
        also, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        return [self._got(task) for task in dict.fromkeys([*ready, *also])]

    def interrupt(self) -> None:
        self._halted = True
        for task in self._running:
            self._ray.cancel(task, force=False)

    def close(self) -> None:
        for task in self._running:
            self._ray.cancel(task, force=True)
        self._running = {}
        if self._ours:
            self._ray.shutdown()

    def _got(self, task: Any) -> Ended:
        number = self._running.pop(task)
        try:
            ended: Ended = self._ray.get(task)
        except self._ray.exceptions.TaskCancelledError:
            return Ended(number, "interrupted", error="cancelled")
        except self._ray.exceptions.RayTaskError as error:
            return Ended(number, "failed", error=str(error).strip().rpartition("\n")[2])
        except self._ray.exceptions.RayError as error:
            return Ended(number, "lost", error=f"its worker was lost: {type(error).__name__}")
        return ended if self._halted else unasked(ended)

    def _connect(self, address: str | None) -> None:
        alone: dict[str, Any] = {} if address else {"include_dashboard": False}
        try:
            self._ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **alone)
        except (ConnectionError, ValueError) as error:
            why = str(error).partition("\n")[0]
            raise NlbenchError(f"no Ray cluster at {address}: {why}", "`ray start --head` begins one.") from None

    def _share(self, needs: Needs) -> dict[str, float]:
        """Return what a task asks for beside cores: a GPU or the part of one that its memory is, or memory."""
        memory = {} if needs.memory is None else {"memory": needs.memory * GIB}
        if not needs.gpu:
            return memory
        if needs.memory is None:
            return {"num_gpus": 1}
        sizes = self._ray.get(self._ray.remote(num_gpus=1)(_gpu_memory).remote())
        return {"num_gpus": 1 / max(1, int(sizes / (needs.memory * GIB)))}


def _performed(number: int, work: Work) -> Ended:
    """Perform work in a process of the cluster, which is kept for more."""
    keep_last()
    return performed(number, work)


def _gpu_memory() -> float:
    """Return the bytes of this worker's GPU."""
    import torch

    return float(torch.cuda.get_device_properties(0).total_memory)
