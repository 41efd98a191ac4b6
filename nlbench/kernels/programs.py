"""Runs one Numba program per seed and head on all cores, on the memory of torch tensors."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, prod
from typing import Any, Final

import numba
import numpy as np
import torch
from numba import prange, types
from numba.core import cgutils
from torch import Tensor

from nlbench.kernels.compilation import compiled
from nlbench.kernels.threads import program_threads
from nlbench.kernels.tiles import intrinsic

_CORES: Final[int] = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]

SMALL: Final = 5_000_000
"""Multiply-adds of a program, some 100 µs on one core, below which waking a second thread takes longer than what it would do."""


class Program:
    """A compiled function of (index, *arguments), called for every index below a count, in parallel.

    It is compiled once and called through its address: Numba's own parallel loops inline their body and optimise it three times.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self._compiled = compiled(function, no_cpython_wrapper=True)
        self._addresses: dict[tuple[Any, ...], int] = {}
        self.__doc__ = function.__doc__

    def __call__(self, count: int, *arguments: Any, work: float = inf) -> None:
        """Run indices 0 … count - 1 on as many threads as programs have, at most one an index. Arrays must be C-contiguous.

        work  multiply-adds of all indices, where they are known; if they are few, the calling thread does them all
        """
        kinds = tuple([(each.dtype.char, each.ndim) if isinstance(each, np.ndarray) else type(each) for each in arguments])
        if kinds not in self._addresses:
            self._addresses[kinds] = self._address(arguments)
        before, threads = torch.get_num_threads(), 1 if work < SMALL else min(program_threads(), _CORES, max(count, 1))
        if numba.get_num_threads() != threads:
            numba.set_num_threads(threads)
        if torch.get_num_threads() != before:  # starting Numba's threads sets the count of the OpenMP runtime they share
            torch.set_num_threads(before)
        _run(self._addresses[kinds], count, arguments)

    def _address(self, arguments: tuple[Any, ...]) -> int:
        signature = (types.intp, *(numba.typeof(each) for each in arguments))
        self._compiled.compile(signature)
        overload = self._compiled.overloads[signature]
        return int(overload.library.get_pointer_to_function(overload.fndesc.llvm_func_name))


@intrinsic
def _call_at(context, address, index, arguments):  # type: ignore[no-untyped-def]
    """Call the compiled function at `address` with (index, *arguments)."""
    kinds = (types.intp, *arguments.types)

    def emit(context, builder, signature, values):  # type: ignore[no-untyped-def]
        pointer = builder.inttoptr(values[0], context.call_conv.get_function_type(types.none, kinds).as_pointer())
        inputs = [values[1], *cgutils.unpack_tuple(builder, values[2])]
        status, _ = context.call_conv.call_function(builder, pointer, types.none, kinds, inputs)
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(address, index, arguments), emit


def _in_parallel(address, count, arguments):  # type: ignore[no-untyped-def]
    for index in prange(count):
        _call_at(address, index, arguments)


_run = compiled(_in_parallel, parallel=True)


def array(tensor: Tensor, axes: int = 0) -> np.ndarray:
    """The tensor's values as a C-contiguous array, its first `axes` axes as one; shares memory where the tensor is contiguous."""
    values = tensor.detach().contiguous().numpy()
    return values.reshape(prod(values.shape[:axes]), *values.shape[axes:]) if axes else values


def optional(tensor: Tensor | None, like: np.ndarray) -> np.ndarray:
    """`array(tensor, 2)`; without a tensor, an array shaped as `like` but with an empty second axis."""
    return np.empty((like.shape[0], 0, *like.shape[2:]), like.dtype) if tensor is None else array(tensor, 2)


def empty(shape: tuple[int, ...], like: np.ndarray) -> np.ndarray:
    """An array for a program to fill; the tests fill it with NaN first."""
    return np.empty(shape, like.dtype)


def tensor(values: np.ndarray, *shape: int) -> Tensor:
    """The array as a tensor of `shape`, sharing memory."""
    return torch.from_numpy(values).view(shape)
