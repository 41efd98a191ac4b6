"""An object -> named tensors, one of which holds as JSON all that is no tensor and how everything hangs together.

A node of that JSON is a plain null, truth value, number or text, or a list: what it is, then its parts. Whatever can be changed
or shared is numbered in the order in which the walk meets it, and `["same", number]` stands for it from then on.
"""

from __future__ import annotations

import enum
import json
import types
import weakref
from array import array
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from nlbench.state import values
from nlbench.state.arrays import Shown, in_rows
from nlbench.state.storages import is_dense, once

STRUCTURE: Final = "structure"
"""The key of the JSON among the tensors, as bytes."""

MOST_NODES: Final = 2_000_000
DEEPEST: Final = 120
"""Levels of nesting that are followed: a chain of objects that is longer is named as an obstacle."""

_OBSTACLE: Final = b'["obstacle",'
"""How the node of an obstacle is written, and no text within the JSON: its quotes have backslashes."""

_SMALL: Final = 2**32
"""Below it a number is no place in memory, and any reader of JSON has it."""
_LARGEST: Final = 8
"""Bytes of the largest numbers of NumPy that torch has too; others are held as bytes."""
_KINDS: Final = {Tensor: "tensor", nn.Parameter: "parameter", nn.Buffer: "buffer"}


def collect(value: object, *, gradients: bool = True, made_anew: bool = False) -> dict[str, Tensor]:
    """Return all that an object holds as tensors by path, its own and not copied, and `STRUCTURE`. What cannot be walked is left
    out: see `obstacles`; gradients too unless `gradients`, and what classes say is made anew unless `made_anew`.

    Cost: a walk over all that it holds, about a microsecond for each item; no tensor is copied.
    """
    walk = _Walk(gradients=gradients, made_anew=made_anew)
    root = walk.node(value, "", 0)
    walk.place_views()
    return {**walk.tensors, STRUCTURE: _text(root)}


def _text(root: Any) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(root, separators=(",", ":")).encode()), dtype=torch.uint8)


def obstacle(line: str) -> Tensor:
    """Return a structure that says of something beside an object that it cannot be saved: see `left_out`."""
    return _text(["obstacle", line])


def obstacles(value: object) -> list[str]:
    """Return a line for each thing an object holds that cannot be walked: where it is held, and what it is."""
    walk = _Walk()
    walk.node(value, "", 0)
    walk.place_views()
    return walk.obstacles


def left_out(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the lines of `obstacles` for what `collect` returned, however its names were prefixed since."""
    return [
        line
        for name, value in tensors.items()
        if name.endswith(STRUCTURE) and value.dtype == torch.uint8 and _OBSTACLE in (text := bytes(value.cpu().numpy()))
        for line in _lines(json.loads(text))
    ]


def _lines(node: Any) -> list[str]:
    if isinstance(node, dict):
        node = list(node.values())
    if not isinstance(node, list):
        return []
    return [node[1]] if node[:1] == ["obstacle"] else [line for part in node for line in _lines(part)]


class _Walk:
    """One walk: what was met so far."""

    def __init__(self, *, gradients: bool = True, made_anew: bool = False) -> None:
        self._gradients = gradients
        self._made_anew = made_anew
        self.tensors: dict[str, Tensor] = {}
        self.obstacles: list[str] = []
        self._numbers: dict[int, int] = {}
        self._held: list[object] = []  # so that no number is given to two things, one made where another was
        self._storages: dict[int, int] = {}
        self._views: dict[int, list[tuple[Tensor, list[Any]]]] = defaultdict(list)
        self._arrays = Shown()
        self._large_numbers: list[tuple[int, str, list[Any]]] = []
        self._nodes = 0

    def node(self, value: Any, path: str, depth: int) -> Any:
        """Return the node of a value held at a path."""
        self._nodes += 1
        if value is None or isinstance(value, bool) or type(value) is str:
            return value
        if type(value) is int:
            return value if -_SMALL < value < _SMALL else self._large(value, path)
        if isinstance(value, enum.Enum) and not values.held_by_member(value):
            return self._member(value)
        name = values.leaf(value)
        if name:
            return [name, values.LEAVES[name].write(value)]
        if values.is_code(value):
            return ["code", values.name_of(value)]
        if isinstance(value, types.BuiltinFunctionType | types.MethodWrapperType):  # of an object, which may hold state
            return ["bound", value.__name__, self.node(value.__self__, f"{path}<self>", depth + 1)]
        if type(value) is weakref.ref and value.__callback__ is None:
            return ["weak", self.node(value(), f"{path}<referred to>", depth + 1)]
        if id(value) in self._numbers:
            return ["same", self._numbers[id(value)]]
        if depth > DEEPEST or self._nodes > MOST_NODES:
            return self._obstacle(path, "too much, or nested too deeply")
        self._numbers[id(value)] = len(self._numbers)
        self._held.append(value)
        return self._shared(value, path, depth + 1)

    def _shared(self, value: Any, path: str, depth: int) -> Any:
        if isinstance(value, enum.Enum):
            filled = values.held_by_member(value).items()
            return ["filled", self._member(value), {name: self.node(each, f"{path}.{name}", depth) for name, each in filled}]
        if isinstance(value, Tensor):
            return self._tensor(value, path, depth)
        if isinstance(value, np.ndarray):
            return self._array(value, path, depth)
        if name := values.generator(value):
            return ["generator", name, self.node(values.GENERATORS[name].read(value), path, depth)]
        if isinstance(value, types.FunctionType):
            cells = [self._cell(cell, f"{path}<closure {i}>", depth) for i, cell in enumerate(value.__closure__ or ())]
            held = [value.__defaults__, value.__kwdefaults__, vars(value) or None]
            return ["function", values.name_of(value), cells, [self.node(each, f"{path}<defaults>", depth) for each in held]]
        if isinstance(value, types.MethodType):
            return ["method", values.name_of(value.__func__), self.node(value.__self__, f"{path}<self>", depth)]
        if type(value) is partial and not vars(value):
            parts = (value.func, value.args, dict(value.keywords))
            return ["partial", [self.node(part, f"{path}<partial>", depth) for part in parts]]
        if type(value) is bytearray:
            return ["bytearray", value.hex()]
        if type(value) is array:
            return ["numbers", value.typecode, value.tobytes().hex()]
        if isinstance(value, tuple):
            return self._tuple(value, path, depth)
        if type(value) is frozenset:
            items = self._ordered(value)
            found = [self.node(each, f"{path}{{{i}}}", depth) for i, each in enumerate(items)]
            return ["frozenset", found + self._of_its_past(items, path)]
        return self._object(value, path, depth)

    def _large(self, value: int, path: str) -> Any:
        node = ["int", hex(value)]
        self._large_numbers.append((value, path, node))
        return node

    @staticmethod
    def _member(value: enum.Enum) -> Any:
        named = value.name in type(value).__members__  # a combination of flags is not
        return ["member", values.name_of(type(value)), value.name if named else value.value]

    def _tensor(self, value: Tensor, path: str, depth: int) -> Any:
        if type(value) is Tensor and value.layout in values.SPARSE and not (value.requires_grad or vars(value)):
            parts = [self.node(part, f"{path}.{name}", depth) for name, part in values.sparse_parts(value).items()]
            return ["sparse", str(value.layout), parts, list(value.shape), value.is_coalesced() if value.is_sparse else None]
        if type(value) not in _KINDS or value.layout != torch.strided or value.is_quantized or value.is_nested or value.is_meta:
            return self._obstacle(path, f"a tensor of a kind of its own, {type(value).__name__}")
        if value.grad_fn is not None:
            self._keep(value.detach(), path)
            return self._obstacle(path, "a tensor with the graph that it was computed by, which detach() leaves out")
        storage = self._storages.setdefault(value.untyped_storage()._cdata, len(self._storages))
        grad = self.node(value.grad, f"{path}.grad", depth) if value.is_leaf and self._gradients else None
        kept, where = self._keep(once(value.detach()), path), value.device.type
        held = {name: self.node(each, f"{path}.{name}", depth) for name, each in vars(value).items()}
        hooks = len(value._backward_hooks or ()) + len(getattr(value, "_post_accumulate_grad_hooks", None) or ())
        node = [_KINDS[type(value)], kept, value.requires_grad, storage, where, grad, None, held, hooks]
        self._views[storage].append((value, node))
        return node

    def place_views(self) -> None:
        """Add to the nodes of tensors and arrays whose place in memory is kept where that is, the first of each memory at 0; and
        name the numbers that are places of objects.
        """
        for views in self._views.values():
            if len(views) > 1 or not is_dense(views[0][0]):
                start = min(value.storage_offset() for value, _ in views)
                for value, node in views:
                    node[6] = [value.storage_offset() - start, list(value.stride()), list(value.shape)]

        self._arrays.place()
        for node in self._arrays.beside(value for views in self._views.values() for value, _ in views):
            node[:] = self._obstacle(node[1], "an array whose memory something shows that is no view of it, such as a tensor")
        for number, path, node in self._large_numbers:
            if number in self._numbers:
                node.append(self._obstacle(path, "the id of an object, which is another in another process"))

    def _array(self, value: np.ndarray, path: str, depth: int) -> Any:
        if type(value) is not np.ndarray:
            return self._obstacle(path, f"a {type(value).__module__}.{type(value).__qualname__}")
        if value.dtype == object and value.base is None:
            return ["objects", list(value.shape), [self.node(each, f"{path}[{i}]", depth) for i, each in enumerate(value.flat)]]
        kind = values.dtype_text(value.dtype)
        if kind is None:
            return self._obstacle(path, f"an array of {value.dtype}")
        axes = in_rows(value)
        row = value.transpose(axes)
        if value.dtype.kind in "biufc" and value.dtype.isnative and value.dtype.itemsize <= _LARGEST:
            held = torch.from_numpy(np.require(row, requirements=["C", "W"]))
        else:
            held = torch.frombuffer(bytearray(row.tobytes()), dtype=torch.uint8) if value.size else torch.zeros(0)
        node = ["array", self._keep(held, path), kind, list(value.shape), axes, bool(value.flags.writeable), None]
        self._arrays.take(value, node)
        return node

    def _keep(self, tensor: Tensor, path: str) -> str:
        key = path if path not in self.tensors and path != STRUCTURE else f"{path}#{len(self.tensors)}"
        self.tensors[key] = tensor
        return key

    def _cell(self, cell: types.CellType, path: str, depth: int) -> Any:
        try:
            return self.node(cell.cell_contents, path, depth)
        except ValueError:  # not yet assigned
            return ["empty"]

    def _tuple(self, value: tuple[Any, ...], path: str, depth: int) -> Any:
        kind = type(value)
        if kind is not tuple and (not values.is_written_in_python(kind) or values.attributes(value)):
            return self._obstacle(path, f"a {kind.__name__}")
        return ["tuple", None if kind is tuple else values.name_of(kind), self._in_a_row(value, path, depth)]

    def _in_a_row(self, several: Sequence[Any], path: str, depth: int) -> list[Any]:
        """Return the nodes of several values; whole numbers, of which a generator holds hundreds, are nodes as they are."""
        if all(type(each) is int and -_SMALL < each < _SMALL for each in several):
            self._nodes += len(several)
            return list(several)
        return [self.node(each, f"{path}[{i}]", depth) for i, each in enumerate(several)]

    def _object(self, value: Any, path: str, depth: int) -> Any:
        if whole := values.of_the_process(value):
            return self._obstacle(path, whole)
        kind, container = type(value), values.container_of(value)
        if kind not in (container, *values.BARE) and not values.is_written_in_python(kind):
            return self._obstacle(path, f"a {kind.__module__}.{kind.__qualname__}")
        named = values.attributes(value, made_anew=self._made_anew)
        held = {name: self._attribute(name, each, f"{path}.{name}".lstrip("."), depth) for name, each in named.items()}
        name = None if kind is container else values.name_of(kind)
        return ["object", container.__name__ if container else None, name, self._items(value, container, path, depth), held]

    def _attribute(self, name: str, value: Any, path: str, depth: int) -> Any:
        """Return the node of an attribute; of torch's hooks, whose keys count all hooks of a process, the hooks in order."""
        if "_hooks" in name and isinstance(value, dict) and all(type(key) is int for key in value):
            return ["hooks", [self.node(each, f"{path}[{i}]", depth) for i, each in enumerate(value.values())]]
        return self.node(value, path, depth)

    def _items(self, value: Any, container: type | None, path: str, depth: int) -> Any:
        if container is None:
            return []
        if issubclass(container, dict):
            pairs = list((OrderedDict if issubclass(container, OrderedDict) else dict).items(value))
            made = [self.node(value.default_factory, f"{path}<factory>", depth)] if issubclass(container, defaultdict) else []
            keys = [self.node(key, f"{path}<key {i}>", depth) for i, (key, _) in enumerate(pairs)]
            held = [self.node(each, f"{path}[{_shown(key, i)}]", depth) for i, (key, each) in enumerate(pairs)]
            return [keys, held, *made]
        items = list(container.__iter__(value))  # type: ignore[attr-defined]
        if issubclass(container, set):
            items = self._ordered(items)
        found = self._in_a_row(items, path, depth)
        if issubclass(container, set):
            return found + self._of_its_past(items, path)
        return [value.maxlen, found] if issubclass(container, deque) else found

    def _ordered(self, items: Iterable[Any]) -> list[Any]:
        """Return the items of a set: in its own order where that follows from their values, and else, as theirs may be another in
        another process, by what they are, as far as that can be told.
        """
        found = list(items)
        if all(map(values.hashes_alike, found)):
            return found
        ranks = [values.rank(each) or self._met(each) for each in found]
        return found if None in ranks else [found[i] for i in sorted(range(len(found)), key=ranks.__getitem__)]  # type: ignore[arg-type]

    def _of_its_past(self, items: Sequence[Any], path: str) -> list[Any]:
        """Return an obstacle where a set of these in this order, filled anew, has another: it comes of what was in it before."""
        if list(set(items)) == items or not all(map(values.hashes_alike, items)):
            return []
        return [
            self._obstacle(path, "a set whose order comes of how it was filled: dict.fromkeys(...) keeps one that comes back")
        ]

    def _met(self, value: object) -> str | None:
        return f"{self._numbers[id(value)]:9}" if id(value) in self._numbers else None

    def _obstacle(self, path: str, what: str) -> Any:
        self.obstacles.append(f"{path}: {what}")
        return ["obstacle", self.obstacles[-1]]


def _shown(key: object, index: int) -> str:
    return repr(key)[:60] if isinstance(key, str | int | float) else f"value {index}"
