"""A Ray cluster as engine: every piece of work a task, with its needs in cores, memory and parts of a GPU (extra `ray`)."""

from __future__ import annotations

import logging
from functools import lru_cache
from time import monotonic
from typing import Any, Final

from nlbench.errors import NlbenchError
from nlbench.sources import keep_last
from nlbench.sweep.engines import Ended, Engine, Needs, Packed, Work, import_path, performed, unasked

GIB: Final = 2**30
LOOK_AGAIN: Final = 10.0
"""Seconds after which a cluster is asked anew how large it is."""

ANSWER: Final = 120.0
"""Seconds within which a worker of a cluster starts and answers."""

OPTIONS: Final = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
"""Of a task, by what is asked for."""


class OnRay(Engine):
    """The cluster at an address, `auto` the one that this machine belongs to; without one, a cluster of this machine alone.

    The results folder and the data must be at the same place on every machine. Raises `NlbenchError` without the extra, where no
    cluster or none of its workers answers, and where no machine of it could hold a cell.
    """

    def __init__(self, address: str | None, workers: int | None, needs: Needs) -> None:
        try:
            import ray
        except ImportError:
            raise NlbenchError("the engine ray needs the extra `ray`.", 'Get it: pip install "nlbench[ray]".') from None
        self._ray = ray
        self._workers = workers
        self._running: dict[Any, int] = {}
        self._halted = False
        self.threads = needs.threads or 1
        self._ours = not ray.is_initialized()
        if self._ours:
            self._connect(address)
        try:
            self._greet()
            self._asks = self._asked(needs)
            self._refuse_what_fits_nowhere(self._asks)
        except NlbenchError:
            self.close()
            raise
        options: dict[str, Any] = {OPTIONS[kind]: ask for kind, ask in self._asks.items()}
        self._task = ray.remote(max_retries=0, **options)(_performed)

    @property
    def slots(self) -> int:  # type: ignore[override]
        """How many tasks the cluster holds, as it was some seconds ago at most."""
        return self._fit(int(monotonic() // LOOK_AGAIN))

    @lru_cache(maxsize=1)  # noqa: B019 - an engine or two in a process
    def _fit(self, tick: int) -> int:
        fit = sum(min(int(has.get(kind, 0) / ask) for kind, ask in self._asks.items()) for has in self._machines())
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
            return Ended(number, "failed", error=_last_line(error))
        except self._ray.exceptions.RayError as error:
            return Ended(number, "lost", error=f"its worker was lost: {type(error).__name__}")
        return ended if self._halted else unasked(ended)

    def _connect(self, address: str | None) -> None:
        here: dict[str, Any] = {"include_dashboard": False, "runtime_env": {"env_vars": {"PYTHONPATH": import_path()}}}
        try:
            self._ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if address else here))
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = f"at {address}" if address else "on this machine"
            why = str(error).partition("\n")[0]
            raise NlbenchError(f"no Ray cluster {where}: {why}", "`ray start --head` begins one.") from None

    def _greet(self) -> None:
        """Have a worker answer, with no core, which a busy cluster has not free. Raises `NlbenchError` where none does: Ray would
        try for ever to start one.
        """
        try:
            self._ray.get(self._ray.remote(num_cpus=0, max_retries=0)(_greeted).remote(), timeout=ANSWER)
        except self._ray.exceptions.GetTimeoutError:
            raise NlbenchError(
                f"no worker of the Ray cluster has started within {ANSWER:.0f} s.",
                "Its logs say why, such as /tmp/ray/session_latest/logs: often the Python there finds no ray.",
            ) from None
        except self._ray.exceptions.RayError as error:
            raise NlbenchError(
                f"a worker of the Ray cluster cannot run nlbench: {_last_line(error)}",
                "Install the same nlbench on every machine.",
            ) from None

    def _asked(self, needs: Needs) -> dict[str, float]:
        """Return what a task asks for, in Ray's words: cores and memory, or a GPU, or the part of one that its memory is."""
        cores = {"CPU": float(needs.threads or 1)}
        if not needs.gpu:
            return cores if needs.memory is None else {**cores, "memory": needs.memory * GIB}
        if needs.memory is None:
            return {**cores, "GPU": 1.0}
        self._refuse_what_fits_nowhere({"GPU": 1.0})
        size = self._ray.get(self._ray.remote(num_gpus=1)(_gpu_memory).remote())
        return {**cores, "GPU": 1 / max(1, int(size / (needs.memory * GIB)))}

    def _refuse_what_fits_nowhere(self, asks: dict[str, float]) -> None:
        """Raise `NlbenchError` where no machine could ever hold a task: it would wait for ever."""
        machines = self._machines()
        if any(all(has.get(kind, 0.0) >= ask for kind, ask in asks.items()) for has in machines):
            return
        most = {kind: max((has.get(kind, 0.0) for has in machines), default=0.0) for kind in asks}
        raise NlbenchError(
            f"no machine of the Ray cluster has {_told(asks)} for a cell: at most {_told(most)}.",
            "Ask for less with --threads, --memory or --device, or add a machine.",
        )

    def _machines(self) -> list[dict[str, float]]:
        """Return what each machine of the cluster has, in Ray's words."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]


def _performed(number: int, work: Work) -> Ended:
    """Perform work in a process of the cluster, which is kept for more."""
    keep_last()
    return performed(number, work)


def _greeted() -> None:
    """Nothing: who gets here found this module."""


def _gpu_memory() -> float:
    """Return the bytes of this worker's GPU."""
    import torch

    return float(torch.cuda.get_device_properties(0).total_memory)


def _last_line(error: BaseException) -> str:
    return str(error).strip().rpartition("\n")[2]


def _told(amounts: dict[str, float]) -> str:
    """Return amounts of what Ray hands out, in words."""
    words = {"CPU": "cores", "GPU": "GPUs"}
    return " and ".join(
        f"{amount / GIB:.1f} GiB" if kind == "memory" else f"{amount:g} {words[kind]}" for kind, amount in amounts.items()
    )
