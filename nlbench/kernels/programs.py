"""Runs one Numba program per seed and head on all cores, on the memory of torch tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import inf, prod
from typing import Any, Final

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from torch import Tensor

from nlbench.kernels.compilation import by_one_process, compiled
from nlbench.kernels.threads import program_threads
from nlbench.kernels.tiles import intrinsic

_CORES: Final[int] = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]

SMALL: Final = 5_000_000
"""Multiply-adds of a program, some 100 µs on one core, below which waking a second thread takes longer than what it would do."""


class Program:
    """A compiled function of (index, *arguments), called for every index below a count, in parallel.

    It is compiled once and called through its address: Numba's own parallel loops inline their body and optimise it three times,
    so all programs share one loop, which knows of no arguments but where they lie.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self._compiled = compiled(function, no_cpython_wrapper=True)
        self._addresses: dict[tuple[Any, ...], tuple[int, int]] = {}
        self.__doc__ = function.__doc__

    def __call__(self, count: int, *arguments: Any, work: float = inf) -> None:
        """Run indices 0 … count - 1 on as many threads as programs have, at most one an index. Arrays must be C-contiguous.

        work  multiply-adds of all indices, where they are known; if they are few, the calling thread does them all
        """
        before = torch.get_num_threads()
        kinds = tuple([(each.dtype.char, each.ndim) if isinstance(each, np.ndarray) else type(each) for each in arguments])
        if kinds not in self._addresses:
            self._addresses[kinds] = self._compiled_for(arguments)
        if torch.get_num_threads() != before:  # compiling the loop starts Numba's threads
            torch.set_num_threads(before)
        threads = 1 if work < SMALL else min(program_threads(), _CORES, max(count, 1))
        if numba.get_num_threads() != threads:
            numba.set_num_threads(threads)
        if torch.get_num_threads() != before:  # starting Numba's threads sets the count of the OpenMP runtime they share
            torch.set_num_threads(before)
        _run(*self._addresses[kinds], count, arguments)

    def _compiled_for(self, arguments: tuple[Any, ...]) -> tuple[int, int]:
        """Where the loop and this program lie, with all compiled that a call with such arguments takes."""
        with by_one_process(self._compiled.py_func):
            loop = _loop()
            program = _address(self._compiled, types.intp, *(numba.typeof(each) for each in arguments))
            _run.compile((types.intp, types.intp, types.intp, numba.typeof(arguments)))
        return loop, program


def _address(function: Any, *kinds: Any) -> int:
    """Where the machine code of a function of these kinds lies."""
    function.compile(kinds)
    overload = function.overloads[kinds]
    return int(overload.library.get_pointer_to_function(overload.fndesc.llvm_func_name))


def _invoke(context: Any, builder: Any, address: Any, kinds: tuple[Any, ...], values: list[Any]) -> None:
    """Call the compiled function of these kinds at an address, and pass on what it raises."""
    pointer = builder.inttoptr(address, context.call_conv.get_function_type(types.none, kinds).as_pointer())
    status, _ = context.call_conv.call_function(builder, pointer, types.none, kinds, values)
    with cgutils.if_unlikely(builder, status.is_error):
        context.call_conv.return_status_propagate(builder, status)


@intrinsic
def _call(context, address, index, place):  # type: ignore[no-untyped-def]
    """Call the compiled function at `address` with (index, place)."""

    def emit(context, builder, signature, values):  # type: ignore[no-untyped-def]
        _invoke(context, builder, values[0], signature.args[1:], values[1:])
        return context.get_dummy_value()

    return types.void(address, index, place), emit


def _in_parallel(address, count, place):  # type: ignore[no-untyped-def]
    for index in prange(count):
        _call(address, index, place)


_parallel = compiled(_in_parallel, parallel=True, no_cpython_wrapper=True)


@cache
def _loop() -> int:
    """Where the machine code of the loop of all programs lies."""
    with by_one_process(_in_parallel):
        return _address(_parallel, types.intp, types.intp, types.intp)


@intrinsic
def _call_for_all(context, loop, program, count, arguments):  # type: ignore[no-untyped-def]
    """Have the loop at `loop` call the program at `program` with (index, *arguments) for every index below `count`."""
    index_and_place = (types.intp, types.intp)

    def unpacked(context, builder, what):  # type: ignore[no-untyped-def]
        """The function of (index, place) that calls the program with the arguments that lie there."""
        kind = context.call_conv.get_function_type(types.none, index_and_place)
        function = ir.Function(builder.module, kind, builder.module.get_unique_name("nlbench.unpacked"))
        function.linkage = "internal"
        inside = ir.IRBuilder(function.append_basic_block("entry"))
        index, place = context.call_conv.get_arguments(function)
        program, held = cgutils.unpack_tuple(inside, inside.load(inside.inttoptr(place, what.as_pointer())))
        _invoke(context, inside, program, (types.intp, *arguments.types), [index, *cgutils.unpack_tuple(inside, held)])
        context.call_conv.return_value(inside, context.get_dummy_value())
        return function

    def emit(context, builder, signature, values):  # type: ignore[no-untyped-def]
        loop, program, count, held = values
        what = cgutils.pack_struct(builder, [program, held])
        place = cgutils.alloca_once_value(builder, what)
        inputs = [
            builder.ptrtoint(unpacked(context, builder, what.type), program.type),
            count,
            builder.ptrtoint(place, program.type),
        ]
        _invoke(context, builder, loop, (types.intp, *index_and_place), inputs)
        return context.get_dummy_value()

    return types.void(loop, program, count, arguments), emit


def _run_all(loop, program, count, arguments):  # type: ignore[no-untyped-def]
    _call_for_all(loop, program, count, arguments)


_run = compiled(_run_all)


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
