"""Which implementation of a kernel op runs: the one asked for, or the best that can."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from types import ModuleType
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from nlbench.errors import BackendError, UnknownNameError

version: Final = cache(metadata.version)
"""Looked up once: reading it takes a quarter of a millisecond, as long as a whole scan on a GPU."""

Backend = Literal["auto", "reference", "numba", "triton"]

_MODULES: Final[dict[Backend, str]] = {"reference": "reference", "numba": "_numba", "triton": "_triton"}
_FASTEST_FIRST: Final[dict[str, tuple[Backend, ...]]] = {"cpu": ("numba",), "cuda": ("triton",)}
_VERIFIED: Final[dict[Backend, tuple[str, ...]]] = {
    "triton": ("batch_product", "memory_scan", "metric_update", "mlp_step", "self_referential_scan")
}
"""Ops that "auto" may take on this backend: every check has passed on a CUDA device, and they are faster than torch there. Naming
the backend runs any."""
_VERIFIED_WITH: Final = "3.6."
"""The Triton of those checks: its compilers have miscompiled kernels of one release and not of the next."""
_DTYPES: Final[dict[Backend, tuple[torch.dtype, ...]]] = {
    "numba": (torch.float32, torch.float64),
    "triton": (torch.float32, torch.bfloat16),
}


def implementation(op: str, backend: Backend, tensor: Tensor, precision: str = "float32") -> ModuleType:
    """The module that implements `op` (a package name) for tensors like `tensor`; imported on first use.

    precision  "bf16": products in bfloat16, float32 for all else; plain torch, and only of ops that have a module of that name.
    Raises `BackendError` if the backend was asked for by name and cannot run here, `UnknownNameError` if it names none.
    """
    chosen = resolve(op, backend, tensor, precision)
    return import_module(f"{op}.{_MODULES[chosen] if precision == 'float32' else precision}")


def resolve(op: str, backend: str, tensor: Tensor, precision: str = "float32") -> Backend:
    """The name of the backend that `implementation` would run: never "auto"."""
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
