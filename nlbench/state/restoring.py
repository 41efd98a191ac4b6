"""Named tensors -> the object they were collected from, in a freshly built one.

Whatever the fresh object has at the same place is changed in place, so that all who refer to it go on doing so; what it lacks,
such as the samples of a buffer, is made, of classes that are loaded already. Nothing is imported and no constructor runs.
"""

from __future__ import annotations

import json
import sys
import sysconfig
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from inspect import getattr_static
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from nlbench.state import values
from nlbench.state.collecting import STRUCTURE

_INSTALLED: Final = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_MADE_FROM: Final = ("torch.nn", "torch.optim", "nlbench")
"""Installed packages whose classes are made where the fresh object has none yet; beside these, code that is not installed."""

_MISSING: Final = object()
_TENSORS: Final = {"tensor": Tensor, "parameter": nn.Parameter, "buffer": nn.Buffer}
_FACTORIES: Final = {values.name_of(kind): kind for kind in (list, dict, set, tuple, int, float, str, bool)}
"""What a defaultdict may make its values with, beside the user's own functions."""
_PLACE: Final = 6
"""Where in the node of a tensor stands its place in memory that it shares."""

_STANDARD: Final[dict[str, type]] = {values.name_of(Counter): Counter}
_BUILT_IN: Final[dict[str, type]] = {kind.__name__: kind for kind in values.CONTAINERS}


class UnlikeError(Exception):
    """What was collected does not fit the fresh object; says where and why."""


def restore(fresh: object, tensors: Mapping[str, Tensor]) -> None:
    """Put what `collect` returned into a freshly built object of the same kind. The object does not keep the given tensors.

    Raises `UnlikeError` where it does not fit; the object must not be used then.
    """
    try:
        root = json.loads(bytes(tensors[STRUCTURE].cpu().numpy()))
    except (KeyError, ValueError, RecursionError):
        raise UnlikeError("its structure is missing or damaged") from None
    try:
        found = _Walk(tensors, root).value(root, fresh, "")
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, RecursionError) as error:
        raise UnlikeError(f"what was saved is damaged: {type(error).__name__}: {error}") from error
    if found is not fresh:
        raise UnlikeError(f"what was saved is no {type(fresh).__qualname__}")


class _Walk:
    """One walk over the fresh object and the saved structure, side by side."""

    def __init__(self, tensors: Mapping[str, Tensor], root: Any) -> None:
        self._saved = tensors
        self._extents = _extents(root, tensors)
        self._known: list[Any] = []  # by number, what stands for it now
        self._taken: set[int] = set()  # parts of the fresh object that stand for something already
        self._storages: dict[int, int] = {}  # of the fresh object, for which saved storage each stands
        self._shared: dict[int, tuple[Tensor, int]] = {}  # by saved storage, its numbers in a row, and where the first view lies
        self._held: list[object] = []

    def value(self, node: Any, own: Any, path: str) -> Any:
        """Return what stands for a node, `own` being what the fresh object has there."""
        if node is None or isinstance(node, bool | int | str):
            return node
        kind = node[0]
        if kind == "int":
            return int(node[1], 16)
        if kind in values.LEAVES:
            return (
                own
                if values.leaf(own) == kind and values.LEAVES[kind].write(own) == node[1]
                else values.LEAVES[kind].make(node[1])
            )
        if kind == "member":
            kind_of = self._class(node[1], type(own), path)
            return kind_of[node[2]] if isinstance(node[2], str) else kind_of(node[2])
        if kind == "bound":
            return self._bound(node, own, path)
        if kind == "code":
            return self._code(node, own, path)
        if kind == "same":
            return self._known[node[1]]
        if kind == "empty":
            return _MISSING
        number = len(self._known)
        self._known.append(_MISSING)
        if id(own) in self._taken:
            own = _MISSING
        self._taken.add(id(own))
        self._held.append(own)
        made = getattr(self, f"_{kind}")(node, own, path, number)
        self._known[number] = made
        return made

    def _code(self, node: Any, own: Any, path: str) -> Any:
        if own is _MISSING or not values.is_code(own) or values.name_of(own) != node[1]:
            found = _FACTORIES.get(node[1], None) or self._loaded(node[1])
            if found is None:
                raise UnlikeError(f"{path}: holds the code {node[1]}, which a fresh one does not")
            return found
        return own

    def _tensor(self, node: Any, own: Any, path: str, number: int) -> Tensor:
        kind, (_, key, requires_grad, storage, device, grad, view, held, hooks) = _TENSORS[node[0]], node
        saved = self._saved[key]
        if self._fits(own, kind, saved, storage, view):
            with torch.no_grad():
                own.detach().copy_(saved)
            found = own.requires_grad_(requires_grad) if own.is_leaf else own
        else:
            plain = self._made(saved, device, storage, view)
            found = plain.requires_grad_(requires_grad) if kind is Tensor else kind(plain, requires_grad)
        self._known[number] = found
        gradient = self.value(grad, getattr(own, "grad", None) if found is own and own.is_leaf else None, f"{path}.grad")
        if found.is_leaf:
            found.grad = gradient
        if len(found._backward_hooks or ()) + len(getattr(found, "_post_accumulate_grad_hooks", None) or ()) != hooks:
            raise UnlikeError(f"{path}: has other hooks than a fresh one")
        now = vars(own) if isinstance(own, Tensor) else {}
        attributes = {name: self.value(each, now.get(name, _MISSING), f"{path}.{name}") for name, each in held.items()}
        vars(found).clear()
        vars(found).update(attributes)
        return found

    _parameter = _buffer = _tensor

    def _fits(self, own: Any, kind: type, saved: Tensor, storage: int, view: Any) -> bool:
        """Return whether a tensor of the fresh object may be written in place: of the same form, shared with nothing else, and
        where it shares its memory, at the same place in it.
        """
        if (
            not isinstance(own, Tensor)
            or type(own) is not kind
            or (own.shape, own.dtype, own.layout) != (saved.shape, saved.dtype, torch.strided)
        ):
            return False
        if any(step == 0 < size - 1 for step, size in zip(own.stride(), own.shape, strict=True)):
            return False
        if self._storages.setdefault(own.untyped_storage()._cdata, storage) != storage:
            return False
        if view is None:
            return True
        offset, strides = view
        if storage not in self._shared:
            size = own.untyped_storage().nbytes() // own.element_size()
            self._shared[storage] = (own.detach().as_strided((size,), (1,), 0), own.storage_offset() - offset)
        row, start = self._shared[storage]
        at_place = own.storage_offset() == start + offset and list(own.stride()) == strides
        return at_place and row.untyped_storage()._cdata == own.untyped_storage()._cdata

    def _made(self, saved: Tensor, device: str, storage: int, view: Any) -> Tensor:
        """Return a tensor like a saved one, as a view of those it shared its memory with."""
        if view is None:
            return torch.empty_like(saved, device=device).copy_(saved)
        offset, strides = view
        if storage not in self._shared:
            self._shared[storage] = (torch.empty(self._extents[storage], dtype=saved.dtype, device=device), 0)
        row, start = self._shared[storage]
        fits = start + offset >= 0 and start + offset + _span(saved.shape, strides) <= len(row)
        if not fits or (row.dtype, row.device.type) != (saved.dtype, torch.device(device).type):
            return torch.empty_like(saved, device=device).copy_(saved)
        return row.as_strided(saved.shape, strides, start + offset).copy_(saved)

    def _array(self, node: Any, own: Any, path: str, number: int) -> np.ndarray:
        _, key, dtype, shape, writeable = node
        saved = np.frombuffer(self._saved[key].cpu().contiguous().numpy().tobytes(), np.dtype(dtype)).reshape(shape)
        if type(own) is np.ndarray and (own.shape, own.dtype.str) == (saved.shape, dtype) and own.flags.writeable and writeable:
            own[...] = saved
            return own
        made = saved.copy()
        made.flags.writeable = writeable
        return made

    def _generator(self, node: Any, own: Any, path: str, number: int) -> Any:
        kind = values.GENERATORS[node[1]]
        state = self.value(node[2], _MISSING, path)
        if not isinstance(own, kind.kind):
            return kind.make(state)
        kind.put(own, state)
        return own

    def _function(self, node: Any, own: Any, path: str, number: int) -> Any:
        _, name, cells, held = node
        if not isinstance(own, types.FunctionType) or values.name_of(own) != name or len(own.__closure__ or ()) != len(cells):
            own = self._loaded(name)
            if not isinstance(own, types.FunctionType) or own.__closure__:
                raise UnlikeError(f"{path}: holds the function {name}, which a fresh one does not")
        self._known[number] = own
        for i, (cell, content) in enumerate(zip(own.__closure__ or (), cells, strict=True)):
            try:
                now = cell.cell_contents
            except ValueError:
                now = _MISSING
            found = self.value(content, now, f"{path}<closure {i}>")
            if found is not _MISSING and found is not now:
                cell.cell_contents = found
        own.__defaults__, own.__kwdefaults__, named = (
            self.value(each, now, f"{path}<defaults>")
            for each, now in zip(held, (own.__defaults__, own.__kwdefaults__, vars(own) or None), strict=True)
        )
        vars(own).update(named or {})
        return own

    def _method(self, node: Any, own: Any, path: str, number: int) -> Any:
        bound = self.value(node[2], own.__self__ if isinstance(own, types.MethodType) else _MISSING, f"{path}<self>")
        if isinstance(own, types.MethodType) and own.__self__ is bound and values.name_of(own.__func__) == node[1]:
            return own
        method = getattr(bound, node[1].rpartition(".")[2], None)
        if not isinstance(method, types.MethodType) or values.name_of(method.__func__) != node[1]:
            raise UnlikeError(f"{path}: holds the method {node[1]}, which a fresh one does not")
        return method

    def _partial(self, node: Any, own: Any, path: str, number: int) -> Any:
        now = (own.func, own.args, dict(own.keywords)) if isinstance(own, partial) else (_MISSING,) * 3
        parts = [self.value(each, part, f"{path}<partial>") for each, part in zip(node[1], now, strict=True)]
        same = all(part is before for part, before in zip(parts[:2], now[:2], strict=True)) and parts[2] == now[2]
        return own if same else partial(parts[0], *parts[1], **parts[2])

    def _bytearray(self, node: Any, own: Any, path: str, number: int) -> bytearray:
        if not isinstance(own, bytearray):
            return bytearray.fromhex(node[1])
        own[:] = bytes.fromhex(node[1])
        return own

    def _tuple(self, node: Any, own: Any, path: str, number: int) -> Any:
        _, name, nodes = node
        kind = tuple if name is None else self._class(name, type(own), path)
        items = self._values(nodes, own if isinstance(own, tuple) else (), path)
        if type(own) is kind and len(own) == len(items) and all(a is b for a, b in zip(own, items, strict=True)):
            return own
        return tuple.__new__(kind, items)

    def _frozenset(self, node: Any, own: Any, path: str, number: int) -> frozenset[Any]:
        return frozenset(self._values(node[1], (), path))

    def _obstacle(self, node: Any, own: Any, path: str, number: int) -> Any:
        raise UnlikeError(f"{node[1]}, which cannot be saved")

    def _object(self, node: Any, own: Any, path: str, number: int) -> Any:
        _, container, name, items, held = node
        base: Any = _BUILT_IN[container] if container else object
        kind = base if name is None else object if name == "builtins:object" else self._class(name, type(own), path)
        if type(own) is not kind:
            own = self._new(kind, base, path)
        if base is deque and own.maxlen != items[0]:
            own = deque.__new__(kind)
            deque.__init__(own, (), items[0])
        self._known[number] = own
        if container:
            self._refill(own, base, items, path)
        for attribute in values.attributes(own).keys() - held.keys():
            object.__delattr__(own, attribute)
        now = values.attributes(own)
        for attribute, each in held.items():
            if isinstance(each, list) and each[:1] == ["hooks"]:
                vars(own)[attribute] = self._hooks(each[1], now.get(attribute), f"{path}.{attribute}".lstrip("."))
                continue
            found = self.value(each, now.get(attribute, _MISSING), f"{path}.{attribute}".lstrip("."))
            if isinstance(getattr_static(kind, attribute, None), types.MemberDescriptorType):  # a slot
                object.__setattr__(own, attribute, found)
            else:
                vars(own)[attribute] = found
        return own

    def _hooks(self, nodes: Sequence[Any], own: Any, path: str) -> dict[int, Any]:
        own = own if isinstance(own, dict) else OrderedDict[int, Any]()
        if len(own) != len(nodes):
            raise UnlikeError(f"{path}: other hooks than a fresh one has")
        for i, (key, node) in enumerate(zip(list(own), nodes, strict=True)):
            own[key] = self.value(node, own[key], f"{path}[{i}]")
        return own

    def _bound(self, node: Any, own: Any, path: str) -> Any:
        """Return a method of a built-in object, such as `random.Random(0).random`."""
        is_one = isinstance(own, types.BuiltinFunctionType | types.MethodWrapperType)
        owner = self.value(node[2], own.__self__ if is_one else _MISSING, f"{path}<self>")
        return own if is_one and own.__self__ is owner and own.__name__ == node[1] else getattr(owner, node[1])

    def _new(self, kind: type, base: Any, path: str) -> Any:
        if kind is not base and not values.is_written_in_python(kind):
            raise UnlikeError(f"{path}: a {kind.__qualname__} cannot be made")
        made = base.__new__(kind)
        if base in (deque, OrderedDict):
            base.__init__(made)
        anew = getattr(kind, "made_anew", ())
        if anew:
            raise UnlikeError(f"{path}: a {kind.__qualname__} that a fresh one does not have lacks {', '.join(anew)}")
        return made

    def _refill(self, own: Any, base: Any, items: Any, path: str) -> None:
        if issubclass(base, dict):
            if base is defaultdict:
                own.default_factory = self.value(items[2], own.default_factory or _MISSING, f"{path}<factory>")
            before = dict(dict.items(own))
            keys = [self.value(key, self._like(key, before), f"{path}<key {i}>") for i, key in enumerate(items[0])]
            found = [
                self.value(each, before.get(key, _MISSING), f"{path}[{key!r:.60}]")
                for key, each in zip(keys, items[1], strict=True)
            ]
            base.clear(own)
            for key, each in zip(keys, found, strict=True):
                base.__setitem__(own, key, each)
            return
        nodes = items[1] if base is deque else items
        found = self._values(nodes, () if base is set else list(base.__iter__(own)), path)
        base.clear(own)
        for each in found:
            base.add(own, each) if base is set else base.append(own, each)

    def _like(self, node: Any, before: Mapping[Any, Any]) -> Any:
        """Return the key of a fresh dict that may stand for a key that is no plain value: the first of its kind not yet taken."""
        if not isinstance(node, list) or node[0] not in _TENSORS:
            return _MISSING
        return next((key for key in before if isinstance(key, Tensor) and id(key) not in self._taken), _MISSING)

    def _values(self, nodes: Sequence[Any], own: Iterable[Any], path: str) -> list[Any]:
        now = list(own)
        now += [_MISSING] * (len(nodes) - len(now))
        return [self.value(node, each, f"{path}[{i}]") for i, (node, each) in enumerate(zip(nodes, now, strict=False))]

    def _class(self, name: str, near: type, path: str) -> Any:
        if values.name_of(near) == name:
            return near
        if name in _STANDARD:
            return _STANDARD[name]
        found = self._loaded(name)
        if not isinstance(found, type):
            raise UnlikeError(f"{path}: the class {name} is not known before the first batch")
        return found

    def _loaded(self, name: str) -> Any:
        """Return a class or function by the name of a module that is loaded, and that is the user's, torch's or ours; or None."""
        place, _, qualified = name.partition(":")
        modules = [module for key, module in list(sys.modules.items()) if module is not None and values.trimmed(key) == place]
        for module in modules:
            file = getattr(module, "__file__", None) or ""
            if place.startswith(_MADE_FROM) or not Path(file).as_posix().startswith(_INSTALLED):
                found: Any = module
                for part in qualified.split("."):
                    found = getattr(found, part, None)
                if isinstance(found, type | types.FunctionType) and values.name_of(found) == name:
                    return found
        return None


def _extents(root: Any, saved: Mapping[str, Tensor]) -> dict[int, int]:
    """Return by storage that several tensors share how many numbers they span."""
    found: dict[int, int] = {}
    left = [root]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            left += node.values()
        elif isinstance(node, list):
            left += node
            if len(node) > _PLACE and isinstance(node[0], str) and node[0] in _TENSORS and node[_PLACE]:
                offset, strides = node[_PLACE]
                found[node[3]] = max(found.get(node[3], 0), offset + _span(saved[node[1]].shape, strides))
    return found


def _span(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Return how many numbers lie from a tensor's first to its last, both included."""
    return 1 + sum((max(size, 1) - 1) * step for size, step in zip(shape, strides, strict=True))
