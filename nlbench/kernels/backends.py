"""Which implementation of a kernel op runs: the one asked for, or the best that can."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module, metadata
from importlib.util import find_spec
from math import inf
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import torch
from torch import Tensor

from nlbench.errors import BackendError, UnknownNameError

version: Final = cache(metadata.version)
"""Looked up once: reading it takes a quarter of a millisecond, as long as a whole scan on a GPU."""

Backend = Literal["auto", "reference", "numba", "triton"]

_MODULES: Final[dict[Backend, str]] = {"reference": "reference", "numba": "_numba", "triton": "_triton"}
_FASTEST_FIRST: Final[dict[str, tuple[Backend, ...]]] = {"cpu": ("numba",), "cuda": ("triton",)}
_VERIFIED: Final[dict[Backend, tuple[str, ...]]] = {
    "triton": ("batch_product", "contexts", "memory_scan", "metric_update", "mlp_step", "self_referential_scan")
}
"""Ops that "auto" may take on this backend: every check has passed on a CUDA device, and they are faster than torch there. Naming
the backend runs any."""
_VERIFIED_WITH: Final = "3.6."
"""The Triton of those checks: its compilers have miscompiled kernels of one release and not of the next."""
_DTYPES: Final[dict[Backend, tuple[torch.dtype, ...]]] = {
    "numba": (torch.float32, torch.float64),
    "triton": (torch.float32, torch.bfloat16),
}


class Bound:
    """An op on one backend that was chosen once: its functions, which then have no `backend` to be given.

    backend  the name of what runs, never "auto"
    kernel   the module that implements the op there
    """

    def __init__(self, op: ModuleType, backend: Backend, precision: str) -> None:
        self.backend = backend
        self.kernel = _module(op.__name__, backend, precision)
        self._precision = precision
        for name, function in vars(op).items():
            if "backend" in (getattr(function, "__kwdefaults__", None) or ()):
                setattr(self, name, partial(function, backend=self))

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., Any]: ...

    def has(self, name: str) -> bool:
        """Whether the backend itself has a function of this name, beyond what the op can do without it."""
        return hasattr(self.kernel, name)

    def beside(self, op: ModuleType, like: Tensor) -> Bound:
        """Another op on the same backend, or in plain torch where that cannot run it."""
        able = obstacle(op.__name__, self.backend, like, self._precision) is None
        return Bound(op, self.backend if able else "reference", self._precision)


def bind(op: ModuleType, backend: str, like: Tensor, *, precision: str = "float32", work: float = inf) -> Bound:
    """The op, a package of `kernels`, on the backend that is asked for, for tensors like `like`: asked once, called often.

    work  multiply-adds of all there is to do: below the op's `WORTH_LOADING`, "auto" is plain torch, which has finished before
          machine code would be loaded
    Raises as `implementation` does.
    """
    if backend == "auto" and work < getattr(op, "WORTH_LOADING", 0):
        backend = "reference"
    return Bound(op, resolve(op.__name__, backend, like, precision), precision)


def implementation(op: str, backend: Backend | Bound, tensor: Tensor, precision: str = "float32") -> ModuleType:
    """The module that implements `op` (a package name) for tensors like `tensor`; imported on first use. Of a bound op, its own.

    precision  "bf16": products in bfloat16, float32 for all else; plain torch, and only of ops that have a module of that name.
    Raises `BackendError` if the backend was asked for by name and cannot run here, `UnknownNameError` if it names none.
    """
    if isinstance(backend, Bound):
        return backend.kernel
    return _module(op, resolve(op, backend, tensor, precision), precision)


def resolve(op: str, backend: str | Bound, tensor: Tensor, precision: str = "float32") -> Backend:
    """The name of the backend that `implementation` would run: never "auto"."""
    if isinstance(backend, Bound):
        return backend.backend
    if backend == "auto":
        fastest = (name for name in _FASTEST_FIRST.get(tensor.device.type, ()) if trusted(op, name))
        return next((name for name in fastest if obstacle(op, name, tensor, precision) is None), "reference")
    chosen = next((name for name in _MODULES if name == backend), None)
    if chosen is None:
        raise UnknownNameError("backend", backend, get_args(Backend))
    found = obstacle(op, chosen, tensor, precision)
    if found is not None:
        reason, remedy = found
        raise BackendError(f"backend {backend!r} cannot run {op.rpartition('.')[2]}: {reason}.", remedy)
    return chosen


def _module(op: str, backend: Backend, precision: str) -> ModuleType:
    return import_module(f"{op}.{_MODULES[backend] if precision == 'float32' else precision}")


def trusted(op: str, backend: Backend) -> bool:
    """Whether "auto" may run `op` on `backend`: kernels for a GPU only as they have been verified on one."""
    if backend not in _VERIFIED:
        return True
    try:
        installed = version(backend)
    except metadata.PackageNotFoundError:
        return False
    return op.rpartition(".")[2] in _VERIFIED[backend] and installed.startswith(_VERIFIED_WITH)


def available_backends(op: str, tensor: Tensor) -> tuple[Backend, ...]:
    """The names of the backends that can run the op named `op` (such as "memory_scan") on tensors like `tensor`."""
    return tuple(name for name in _MODULES if obstacle(f"{__package__}.{op}", name, tensor) is None)


def obstacle(op: str, backend: Backend, tensor: Tensor, precision: str = "float32") -> tuple[str, str] | None:
    """Why `backend` cannot run `op` on tensors like `tensor`, and what to do about it; None if it can."""
    if backend == "reference":
        return None
    if precision != "float32":
        return f"its products are not made in {precision}", "Use --backend auto or reference, or --precision float32."
    device, dtype = tensor.device.type, tensor.dtype
    if find_spec(f"{op}.{_MODULES[backend]}") is None:
        return "this op has no such implementation", "Use --backend auto."
    if find_spec(backend) is None:
        return f"{backend} is not installed", f"Install it (pip install {backend}) or use --backend reference."
    if dtype not in _DTYPES[backend]:
        known = " and ".join(str(each).removeprefix("torch.") for each in _DTYPES[backend])
        return (
            f"it computes in {known}, not {str(dtype).removeprefix('torch.')}",
            "Convert the tensors or use --backend reference.",
        )
    if backend == "numba" and device != "cpu":
        return f"its kernels run on the CPU and the tensors are on {device}", "Use --backend triton or --device cpu."
    if backend == "triton" and device != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"it needs a CUDA device and the tensors are on {device}", "Use --device cuda or --backend numba."
    return None
