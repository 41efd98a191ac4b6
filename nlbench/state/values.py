"""What a value is to a walk over state: a leaf written as text, a generator of random numbers, code, or an object of parts."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import logging
import os
import pathlib
import random
import re
import struct
import sys
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import numpy as np
import torch

CONTAINERS: Final = (defaultdict, OrderedDict, dict, list, set, deque)
"""Built-in types whose items are followed and replaced in place, and whose subclasses written in Python are too."""

BARE: Final = (object, types.SimpleNamespace)
"""Built-in types that hold nothing but attributes."""

_HEAP: Final = 1 << 9
_NOT_MADE_BY_CALLING: Final = 1 << 7
_POINTER: Final = struct.calcsize("P")


class Leaf(NamedTuple):
    """A type of unchangeable values: how one is written as JSON, and made again of that."""

    kind: type
    write: Callable[[Any], Any]
    make: Callable[[Any], Any]


LEAVES: Final[dict[str, Leaf]] = {
    "float": Leaf(float, float.hex, float.fromhex),
    "complex": Leaf(complex, lambda z: [z.real.hex(), z.imag.hex()], lambda parts: complex(*map(float.fromhex, parts))),
    "bytes": Leaf(bytes, bytes.hex, bytes.fromhex),
    "slice": Leaf(slice, lambda s: [s.start, s.stop, s.step], lambda parts: slice(*parts)),
    "range": Leaf(range, lambda r: [r.start, r.stop, r.step], lambda parts: range(*parts)),
    "dtype": Leaf(torch.dtype, lambda value: str(value).removeprefix("torch."), lambda name: _DTYPES[name]),
    "device": Leaf(torch.device, str, torch.device),
    "size": Leaf(torch.Size, list, torch.Size),
    "path": Leaf(pathlib.PurePath, lambda path: [type(path).__name__, str(path)], lambda parts: _PATHS[parts[0]](parts[1])),
    "decimal": Leaf(decimal.Decimal, str, decimal.Decimal),
    "fraction": Leaf(fractions.Fraction, str, fractions.Fraction),
    "datetime": Leaf(datetime.datetime, datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    "date": Leaf(datetime.date, datetime.date.isoformat, datetime.date.fromisoformat),
    "timedelta": Leaf(
        datetime.timedelta, lambda t: [t.days, t.seconds, t.microseconds], lambda parts: datetime.timedelta(*parts)
    ),
    "scalar": Leaf(
        np.generic,
        lambda value: [value.dtype.str, value.tobytes().hex()],
        lambda parts: np.frombuffer(bytes.fromhex(parts[1]), np.dtype(parts[0]))[0],
    ),
    "array-dtype": Leaf(np.dtype, lambda value: value.str, np.dtype),
}
"""By the name they are written under."""

_DTYPES: Final[dict[str, torch.dtype]] = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_PATHS: Final[dict[str, type]] = {
    kind.__name__: kind for kind in (type(pathlib.Path()), pathlib.PurePosixPath, pathlib.PureWindowsPath)
}
_NAMES: Final[dict[type, str]] = {each.kind: name for name, each in LEAVES.items()} | dict.fromkeys(_PATHS.values(), "path")


def leaf(value: object) -> str | None:
    """Return the name in `LEAVES` of a value that has one: of the very type, as a subclass may hold more; none of a structured
    number of NumPy, nor of a moment in a time zone that has rules.
    """
    kind = type(value)
    if isinstance(value, np.generic | np.dtype):
        structured = (value.dtype if isinstance(value, np.generic) else value).kind in "VO"
        return None if structured else "scalar" if isinstance(value, np.generic) else "array-dtype"
    if kind is datetime.datetime and type(value.tzinfo) not in (type(None), datetime.timezone):  # type: ignore[attr-defined]
        return None
    if isinstance(value, slice) and not all(part is None or type(part) is int for part in (value.start, value.stop, value.step)):
        return None
    return _NAMES.get(kind)


class Generator(NamedTuple):
    """A kind of generator of random numbers: how its state is read as plain values, put back, and a new one made."""

    kind: type
    read: Callable[[Any], Any]
    put: Callable[[Any, Any], None]
    make: Callable[[Any], Any]


def _numpy_state(bits: np.random.BitGenerator) -> dict[str, Any]:
    sequence = bits.seed_seq
    drawn = dict(sequence.state) if isinstance(sequence, np.random.SeedSequence) else {}
    return {"bits": bits.state, "sequence": drawn}


def _put_numpy_state(bits: np.random.BitGenerator, state: dict[str, Any]) -> None:
    bits.state = state["bits"]
    sequence = bits.seed_seq
    if isinstance(sequence, np.random.SeedSequence):
        missing = state["sequence"]["n_children_spawned"] - sequence.n_children_spawned
        if missing < 0:
            raise ValueError("it has spawned more generators than the one saved")
        sequence.spawn(missing)


def _made_bits(state: dict[str, Any]) -> np.random.BitGenerator:
    kinds = {kind.__name__: kind for kind in np.random.BitGenerator.__subclasses__()}
    bits = kinds[state["bits"]["bit_generator"]](np.random.SeedSequence(**state["sequence"]))
    bits.state = state["bits"]
    return bits


def _made(kind: Callable[[], Any], put: Callable[[Any, Any], None]) -> Callable[[Any], Any]:
    def make(state: Any) -> Any:
        generator = kind()
        put(generator, state)
        return generator

    return make


GENERATORS: Final[dict[str, Generator]] = {
    "random": Generator(
        random.Random, random.Random.getstate, random.Random.setstate, _made(random.Random, random.Random.setstate)
    ),
    "numpy": Generator(
        np.random.Generator,
        lambda value: _numpy_state(value.bit_generator),
        lambda value, state: _put_numpy_state(value.bit_generator, state),
        lambda state: np.random.Generator(_made_bits(state)),
    ),
    "numpy-bits": Generator(np.random.BitGenerator, _numpy_state, _put_numpy_state, _made_bits),
    "numpy-legacy": Generator(
        np.random.RandomState,
        lambda value: value.get_state(legacy=False),
        lambda value, state: value.set_state(state),
        _made(np.random.RandomState, lambda value, state: value.set_state(state)),
    ),
    "torch": Generator(
        torch.Generator,
        lambda value: (value.device, value.get_state()),
        lambda value, state: value.set_state(state[1]),
        lambda state: torch.Generator(state[0]).set_state(state[1]),
    ),
}
"""By the name they are written under. `random.SystemRandom` has no state that could be read."""


def generator(value: object) -> str | None:
    """Return the name in `GENERATORS` of a value that is one, of the very type or a kind of bits of NumPy's own."""
    return next((name for name, each in GENERATORS.items() if type(value) is each.kind or _is_bits(value, each.kind)), None)


def _is_bits(value: object, kind: type) -> bool:
    return kind is np.random.BitGenerator and type(value) in np.random.BitGenerator.__subclasses__()


_CODE: Final = (
    type(np.mean),
    types.ModuleType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.EllipsisType,
    types.NotImplementedType,
    types.GenericAlias,
    types.UnionType,
    torch.layout,
    torch.memory_format,
    re.Pattern,
    np.ufunc,
    logging.Logger,
    type,
)


def is_code(value: object) -> bool:
    """Return whether a value holds no state: a function of C, a class, a module, a logger."""
    if isinstance(value, types.BuiltinFunctionType):
        return value.__self__ is None or isinstance(value.__self__, types.ModuleType | type)
    return isinstance(value, _CODE) or type(value).__module__ == "typing"


def name_of(value: object) -> str:
    """Return the name that code goes by, the same in another process; of a class, that of its module in front."""
    if isinstance(value, logging.Logger | types.ModuleType):
        return getattr(value, "name", getattr(value, "__name__", ""))
    if isinstance(value, types.FunctionType) and "<" in value.__qualname__:  # others may have the same name
        return f"{module_of(value)}:{value.__qualname__}#{_digest(value.__code__)}"
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | type(np.mean)):
        return f"{module_of(value)}:{value.__qualname__}"
    return getattr(value, "__qualname__", None) or getattr(value, "__name__", None) or repr(value)


def _digest(code: types.CodeType) -> str:
    constants = [_digest(each) if isinstance(each, types.CodeType) else repr(each) for each in code.co_consts]
    return blake2b(repr((code.co_code, code.co_names, code.co_varnames, constants)).encode(), digest_size=4).hexdigest()


def hashes_alike(value: object) -> bool:
    """Return whether a value has the same hash in every process."""
    if type(value) in (tuple, frozenset):
        return all(map(hashes_alike, value))  # type: ignore[call-overload]
    return isinstance(value, int | float | complex | np.number) and not isinstance(value, enum.Enum)


def rank(value: object) -> str | None:
    """Return a text by which unchangeable values are ordered in every process alike; None for others."""
    if type(value) in (tuple, frozenset):
        parts = [rank(each) for each in value]  # type: ignore[attr-defined]
        return None if None in parts else repr(parts if type(value) is tuple else sorted(map(str, parts)))
    if isinstance(value, enum.Enum):
        return f"{name_of(type(value))} {value.name or value.value}"
    if value is None or isinstance(value, bool | int | str) or leaf(value):
        return f"{type(value).__name__} {value!r}"
    return name_of(value) if is_code(value) else None


def held_by_member(value: enum.Enum) -> dict[str, Any]:
    """Return what a member of an enumeration holds beside a name and an unchangeable value."""
    return {
        name: held
        for name, held in vars(value).items()
        if (name == "_value_" and rank(held) is None) or not (name.startswith("_") and name.endswith("_"))
    }


def dtype_text(dtype: np.dtype) -> Any:
    """Return a dtype as JSON, from which `dtype_of` makes it again; None where that is another."""
    text = dtype.descr if dtype.names else dtype.str
    try:
        return text if not dtype.hasobject and dtype_of(text) == dtype else None
    except (TypeError, ValueError):
        return None


def dtype_of(text: Any) -> np.dtype:
    """Return the dtype of what `dtype_text` wrote: a name, or [name, dtype, shape] by field."""
    if isinstance(text, str):
        return np.dtype(text)
    return np.dtype([(name, dtype_of(kind), *map(tuple, shape)) for name, kind, *shape in text])


SPARSE: Final = {
    torch.sparse_coo: ("_indices", "_values"),
    torch.sparse_csr: ("crow_indices", "col_indices", "values"),
    torch.sparse_csc: ("ccol_indices", "row_indices", "values"),
    torch.sparse_bsr: ("crow_indices", "col_indices", "values"),
    torch.sparse_bsc: ("ccol_indices", "row_indices", "values"),
}
"""By layout, the methods that return the parts of a sparse tensor."""


def sparse_parts(value: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the tensors that a sparse one is made of."""
    return {name: getattr(value, name)() for name in SPARSE[value.layout]}


def sparse_of(layout: torch.layout, parts: Sequence[torch.Tensor], shape: Sequence[int], coalesced: bool | None) -> torch.Tensor:
    """Return the sparse tensor of its parts."""
    if layout is torch.sparse_coo:
        indices, numbers = parts
        return torch.sparse_coo_tensor(indices, numbers, tuple(shape), is_coalesced=coalesced, check_invariants=True)
    compressed, plain, numbers = parts
    return torch.sparse_compressed_tensor(compressed, plain, numbers, tuple(shape), layout=layout, check_invariants=True)


def module_of(value: Any) -> str:
    """Return the name of the module of a class or function; of one loaded from a file, without the folder it lies in."""
    return trimmed(value.__module__ or "")


def trimmed(module: str) -> str:
    """Return the name of a module without the folder that stands after an @ in that of one loaded from a file."""
    name, at, _ = module.partition("@")
    return name + at


def _is_written_in_python(kind: Any) -> bool:
    """Return whether all that an instance holds beside its items lies in attributes: no class it inherits from, other than
    `object` and the built-in containers, keeps state of its own in C.
    """
    if kind in (*CONTAINERS, tuple) or not kind.__flags__ & _HEAP:
        return False
    for base in kind.__mro__:
        if base is object or base in (*CONTAINERS, tuple):
            continue
        new = vars(base).get("__new__")
        made_in_c = new is not None and not isinstance(new, staticmethod | types.FunctionType)
        if made_in_c or not base.__flags__ & _HEAP or base.__flags__ & _NOT_MADE_BY_CALLING or _keeps_more(base):
            return False
    return True


is_written_in_python: Final[Callable[[Any], bool]] = cache(_is_written_in_python)


def _keeps_more(kind: type) -> bool:
    """Return whether instances are larger than a class statement makes those of its base: by slots, a dict, weak references."""
    slots = sum(isinstance(each, types.MemberDescriptorType) for each in vars(kind).values())
    pointers = slots + ("__dict__" in vars(kind)) + ("__weakref__" in vars(kind))
    assert kind.__base__ is not None
    return kind.__basicsize__ - kind.__base__.__basicsize__ > pointers * _POINTER


def container_of(value: object) -> type | None:
    """Return the built-in container that a value is, or is a subclass of."""
    return next((kind for kind in CONTAINERS if isinstance(value, kind)), None)


_OF_THE_PROCESS: Final = {
    id(each): name for name, each in {"os.environ": os.environ, "sys.modules": sys.modules, "sys.path": sys.path}.items()
}


def of_the_process(value: object) -> str | None:
    """Return what a value is that belongs to the whole process, which a checkpoint must not put back; None for any other."""
    if id(value) in _OF_THE_PROCESS:
        return _OF_THE_PROCESS[id(value)]
    if type(value) is dict and isinstance(name := value.get("__name__"), str):
        module = sys.modules.get(name)
        return f"the names of module {name}" if getattr(module, "__dict__", None) is value else None
    return None


def attributes(value: object, *, made_anew: bool = False) -> dict[str, Any]:
    """Return what an object keeps in attributes, its slots included, without those its class says are made anew unless
    `made_anew`.
    """
    found = dict(vars(value)) if hasattr(value, "__dict__") else {}
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            name = f"_{base.__name__.lstrip('_')}{slot}" if slot.startswith("__") and not slot.endswith("__") else slot
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found[name] = getattr(value, name)
    anew = () if made_anew else getattr(type(value), "made_anew", ())
    return {name: held for name, held in found.items() if name not in anew}
