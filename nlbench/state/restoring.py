"""Named tensors -> the object they were collected from, in a freshly built one.

Whatever the fresh object has at the same place is changed in place, so that all who refer to it go on doing so; what it lacks,
such as the samples of a buffer, is made, of classes that are loaded already. Nothing is imported and no constructor runs.
"""

from __future__ import annotations

import enum
import json
import types
import weakref
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from inspect import getattr_static
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from nlbench.state import values
from nlbench.state.arrays import Placed
from nlbench.state.collecting import STRUCTURE
from nlbench.state.loaded import PURE, loaded, loaded_enumeration
from nlbench.state.storages import TENSORS, Storages, once

_MISSING: Final = object()
_STANDARD: Final[dict[str, type]] = {values.name_of(kind): kind for kind in (Counter, *values.BARE)}
_BUILT_IN: Final[dict[str, type]] = {kind.__name__: kind for kind in values.CONTAINERS}
_NAME_AT: Final = {"code": 1, "function": 1, "method": 1, "member": 1, "tuple": 1, "object": 2}
"""Where in a node of code, or of an object of a class, the name of that stands."""


class _Gone:
    """What a dead weak reference referred to."""


@runtime_checkable
class Putting(Protocol):
    """Named tensors that are elsewhere, and are put where they belong without a copy in between."""

    def put(self, name: str, own: Tensor) -> None:
        """Make a tensor the one under a name. Raises `KeyError`."""


class UnlikeError(Exception):
    """What was collected does not fit the fresh object; says where and why."""


def restore(fresh: object, tensors: Mapping[str, Tensor]) -> None:
    """Put what `collect` returned into a freshly built object of the same kind. The object does not keep the given tensors.

    Its class may lie in a module of another name than it was collected of, as one that is imported and one of a named file do:
    whatever else lay in that module is looked for in the new one too.
    Raises `UnlikeError` where it does not fit; the object must not be used then.
    """
    try:
        root = json.loads(bytes(tensors[STRUCTURE].cpu().numpy()))
    except (KeyError, ValueError, RecursionError):
        raise UnlikeError("its structure is missing or damaged") from None
    try:
        found = _Walk(tensors, root, fresh).value(root, fresh, "")
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, RecursionError) as error:
        raise UnlikeError(f"what was saved is damaged: {type(error).__name__}: {error}") from error
    if found is not fresh:
        raise UnlikeError(f"what was saved is {_kind_of(root) or 'something else'}, no {values.name_of(type(fresh))}")


def _kind_of(root: Any) -> str | None:
    """Return the name of the class of a root, None where it is no object of one."""
    return root[2] if isinstance(root, list) and root[:1] == ["object"] else None


def _moved(root: Any, fresh: object) -> tuple[str, str] | None:
    """Return the module of the class that was collected and that of the fresh one, where only these differ between them."""
    then, _, name = (_kind_of(root) or "").partition(":")
    now, _, own_name = values.name_of(type(fresh)).partition(":")
    return (f"{then}:", f"{now}:") if name == own_name and then != now else None


def put(own: Tensor, tensors: Mapping[str, Tensor], name: str) -> None:
    """Make a tensor the one under a name, in place; without another of its size where that lies in a file."""
    if isinstance(tensors, Putting):
        tensors.put(name, own)
    else:
        own.copy_(tensors[name])


class _Walk:
    """One walk over the fresh object and the saved structure, side by side."""

    def __init__(self, tensors: Mapping[str, Tensor], root: Any, fresh: object) -> None:
        self._saved = tensors
        self._moved = _moved(root, fresh)
        self.near = type(fresh).__module__
        self._storages = Storages(root)
        self._arrays = Placed()
        self.known: list[Any] = []  # by number, what stands for it now
        self._taken: set[int] = set()  # parts of the fresh object that stand for something already
        self._held: list[object] = []

    def value(self, node: Any, own: Any, path: str) -> Any:
        """Return what stands for a node, `own` being what the fresh object has there."""
        if node is None or isinstance(node, bool | int | str):
            return node
        node = self._renamed(node)
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
            return self._member(node, own, path)
        if kind == "bound":
            return _bound(self, node, own, path)
        if kind == "weak":
            return self._weak(node, own, path)
        if kind == "code":
            return _code(self, node, own, path)
        if kind == "same":
            return self.known[node[1]]
        if kind == "empty":
            return _MISSING
        number = len(self.known)
        self.known.append(_MISSING)
        if id(own) in self._taken:
            own = _MISSING
        self._taken.add(id(own))
        self._held.append(own)
        called = _CALLABLES.get(kind)
        made = called(self, node, own, path, number) if called else getattr(self, f"_{kind}")(node, own, path, number)
        self.known[number] = made
        return made

    def _renamed(self, node: Any) -> Any:
        """Return a node in which what lay in the module of the root's class is called as it is now."""
        at = _NAME_AT.get(node[0]) if self._moved is not None and isinstance(node, list) else None
        if self._moved is None or at is None or not (node[at] or "").startswith(self._moved[0]):
            return node
        then, now = self._moved
        return [*node[:at], f"{now}{node[at].removeprefix(then)}", *node[at + 1 :]]

    def _member(self, node: Any, own: Any, path: str) -> Any:
        """Return a member of an enumeration, or of flags what several of them make together."""
        near = values.name_of(type(own)) == node[1]
        kind: Any = type(own) if near else loaded_enumeration(node[1], self.near)
        if kind is None or not issubclass(kind, enum.Flag if isinstance(node[2], int) else enum.Enum):
            raise UnlikeError(f"{path}: the enumeration {node[1]} is not known before the first batch")
        return kind(node[2]) if isinstance(node[2], int) else kind[node[2]]

    def _filled(self, node: Any, own: Any, path: str, number: int) -> Any:
        """Return a member of an enumeration, and fill it with what it held."""
        _, member, held = node
        found = self._member(self._renamed(member), own, path)
        self.known[number] = found
        for name, each in held.items():
            vars(found)[name] = self.value(each, vars(found).get(name, _MISSING), f"{path}.{name}")
        return found

    def _weak(self, node: Any, own: Any, path: str) -> Any:
        """Return a weak reference to what stands for what the saved one referred to; what nothing else holds is gone after."""
        is_one = type(own) is weakref.ref
        target = self.value(node[1], own() if is_one else _MISSING, f"{path}<referred to>")
        if is_one and own.__callback__ is None and own() is target:
            return own
        return weakref.ref(_Gone() if target is None else target)

    def _tensor(self, node: Any, own: Any, path: str, number: int) -> Tensor:
        kind, (_, key, requires_grad, storage, device, grad, view, held, hooks) = TENSORS[node[0]], node
        saved = self._saved[key]
        if self._storages.fits(own, kind, saved, storage, view):
            with torch.no_grad():
                once(own.detach()).copy_(saved)
            found = own.requires_grad_(requires_grad) if own.is_leaf else own
        else:
            plain = self._storages.made(saved, device, storage, view)
            found = plain.requires_grad_(requires_grad) if kind is Tensor else kind(plain, requires_grad)
        self.known[number] = found
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

    def _sparse(self, node: Any, own: Any, path: str, number: int) -> Tensor:
        _, layout, nodes, shape, coalesced = node
        kind = next(each for each in values.SPARSE if str(each) == layout)
        return values.sparse_of(kind, self._values(nodes, (), path), shape, coalesced)

    def _objects(self, node: Any, own: Any, path: str, number: int) -> np.ndarray:
        found = (
            own if type(own) is np.ndarray and own.dtype == object and list(own.shape) == node[1] else np.empty(node[1], object)
        )
        self.known[number] = found
        for i, each in enumerate(self._values(node[2], list(found.flat), path)):
            found.flat[i] = each
        return found

    def _numbers(self, node: Any, own: Any, path: str, number: int) -> array[Any]:
        found: array[Any] = own if type(own) is array and own.typecode == node[1] else array(node[1])
        del found[:]
        found.frombytes(bytes.fromhex(node[2]))
        return found

    def _array(self, node: Any, own: Any, path: str, number: int) -> np.ndarray:
        _, key, dtype, shape, axes, writeable, place = node
        numbers = np.frombuffer(bytearray(self._saved[key].cpu().contiguous().numpy().tobytes()), values.dtype_of(dtype))
        saved = numbers.reshape([shape[axis] for axis in axes]).transpose(np.argsort(axes))
        found = self._arrays.put(own if writeable else None, saved, place)
        found.flags.writeable = writeable
        return found

    def _generator(self, node: Any, own: Any, path: str, number: int) -> Any:
        kind = values.GENERATORS[node[1]]
        state = self.value(node[2], _MISSING, path)
        if not isinstance(own, kind.kind):
            return kind.make(state)
        kind.put(own, state)
        return own

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
        return frozenset(self._items(node[1], own if isinstance(own, frozenset) else (), path))

    def _obstacle(self, node: Any, own: Any, path: str, number: int) -> Any:
        raise UnlikeError(f"{node[1]}, which cannot be saved")

    def _object(self, node: Any, own: Any, path: str, number: int) -> Any:
        _, container, name, items, held = node
        base: Any = _BUILT_IN[container] if container else object
        kind = base if name is None else self._class(name, type(own), path)
        if type(own) is not kind:
            own = _new(kind, base, path)
        if base is deque and own.maxlen != items[0]:
            own = deque.__new__(kind)
            deque.__init__(own, (), items[0])
        self.known[number] = own
        if container:
            self._refill(own, base, items, path)
        for attribute in values.attributes(own).keys() - held.keys():
            if values.module_of(kind).startswith("nlbench."):
                raise UnlikeError(f"{path}: lacks {attribute}, which a {kind.__qualname__} has")
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

    def _refill(self, own: Any, base: Any, items: Any, path: str) -> None:
        if issubclass(base, dict):
            if base is defaultdict:
                own.default_factory = self.value(items[2], own.default_factory or _MISSING, f"{path}<factory>")
            before = dict(dict.items(own))
            keys = self._items(items[0], before, path)
            found = [
                self.value(each, before.get(key, _MISSING), f"{path}[{key!r:.60}]")
                for key, each in zip(keys, items[1], strict=True)
            ]
            base.clear(own)
            for key, each in zip(keys, found, strict=True):
                base.__setitem__(own, key, each)
            return
        nodes, now = items[1] if base is deque else items, list(base.__iter__(own))
        found = self._items(nodes, now, path) if base is set else self._values(nodes, now, path)
        base.clear(own)
        for each in found:
            base.add(own, each) if base is set else base.append(own, each)

    def _items(self, nodes: Sequence[Any], own: Iterable[Any], path: str) -> list[Any]:
        """Return keys of a dict or items of a set: for each stands the first alike of the fresh ones that is not taken."""
        before = list(own)

        def like(node: Any) -> Any:
            renamed = self._renamed(node)
            return next((each for each in before if id(each) not in self._taken and _is_like(renamed, each)), _MISSING)

        return [self.value(node, like(node), f"{path}<key {i}>") for i, node in enumerate(nodes)]

    def _values(self, nodes: Sequence[Any], own: Iterable[Any], path: str) -> list[Any]:
        now = list(own)
        now += [_MISSING] * (len(nodes) - len(now))
        return [self.value(node, each, f"{path}[{i}]") for i, (node, each) in enumerate(zip(nodes, now, strict=False))]

    def _class(self, name: str, near: type, path: str) -> Any:
        if values.name_of(near) == name:
            return near
        if name in _STANDARD:
            return _STANDARD[name]
        found = loaded(name, self.near)
        if not isinstance(found, type):
            raise UnlikeError(f"{path}: the class {name} is not known before the first batch")
        return found


def _code(walk: _Walk, node: Any, own: Any, path: str) -> Any:
    if _is_like(node, own):
        return own
    found = PURE.get(node[1]) or loaded(node[1], walk.near)
    if found is None:
        raise UnlikeError(f"{path}: holds the code {node[1]}, which a fresh one does not")
    return found


def _function(walk: _Walk, node: Any, own: Any, path: str, number: int) -> Any:
    _, name, cells, held = node
    if not isinstance(own, types.FunctionType) or values.name_of(own) != name or len(own.__closure__ or ()) != len(cells):
        own = loaded(name, walk.near)
        if not isinstance(own, types.FunctionType) or own.__closure__:
            raise UnlikeError(f"{path}: holds the function {name}, which a fresh one does not")
    walk.known[number] = own
    for i, (cell, content) in enumerate(zip(own.__closure__ or (), cells, strict=True)):
        try:
            now = cell.cell_contents
        except ValueError:
            now = _MISSING
        found = walk.value(content, now, f"{path}<closure {i}>")
        if found is not _MISSING and found is not now:
            cell.cell_contents = found
    own.__defaults__, own.__kwdefaults__, named = (
        walk.value(each, now, f"{path}<defaults>")
        for each, now in zip(held, (own.__defaults__, own.__kwdefaults__, vars(own) or None), strict=True)
    )
    vars(own).update(named or {})
    return own


def _method(walk: _Walk, node: Any, own: Any, path: str, number: int) -> Any:
    bound = walk.value(node[2], own.__self__ if isinstance(own, types.MethodType) else _MISSING, f"{path}<self>")
    if isinstance(own, types.MethodType) and own.__self__ is bound and values.name_of(own.__func__) == node[1]:
        return own
    method = getattr(bound, node[1].rpartition(".")[2], None)
    if not isinstance(method, types.MethodType) or values.name_of(method.__func__) != node[1]:
        raise UnlikeError(f"{path}: holds the method {node[1]}, which a fresh one does not")
    return method


def _partial(walk: _Walk, node: Any, own: Any, path: str, number: int) -> Any:
    now = (own.func, own.args, dict(own.keywords)) if type(own) is partial else (_MISSING,) * 3
    parts = [walk.value(each, part, f"{path}<partial>") for each, part in zip(node[1], now, strict=True)]
    same = all(part is before for part, before in zip(parts[:2], now[:2], strict=True)) and parts[2] == now[2]
    return own if same else partial(parts[0], *parts[1], **parts[2])


def _bound(walk: _Walk, node: Any, own: Any, path: str) -> Any:
    """Return a method of a built-in object, such as `random.Random(0).random`."""
    is_one = isinstance(own, types.BuiltinFunctionType | types.MethodWrapperType)
    owner = walk.value(node[2], own.__self__ if is_one else _MISSING, f"{path}<self>")
    if is_one and own.__self__ is owner and own.__name__ == node[1]:
        return own
    found = getattr(owner, node[1]) if callable(getattr_static(type(owner), node[1])) else None  # and no property
    if not isinstance(found, types.BuiltinFunctionType | types.MethodWrapperType):
        raise UnlikeError(f"{path}: {node[1]} is no method of a {type(owner).__qualname__}")
    return found


_CALLABLES: Final = {"function": _function, "method": _method, "partial": _partial}
"""What can be called and holds something: how each is put back, by a walk."""


def _is_like(node: Any, own: Any) -> bool:
    """Return whether what a fresh object has may stand for a node that is no plain value."""
    kind = node[0] if isinstance(node, list) else None
    if kind == "code":
        return own is not _MISSING and values.is_code(own) and values.name_of(own) == node[1]
    if kind == "function":
        return isinstance(own, types.FunctionType) and values.name_of(own) == node[1]
    if kind == "object":
        return own is not _MISSING and values.name_of(type(own)) == node[2]
    return kind in TENSORS and isinstance(own, Tensor)


def _new(kind: type, base: Any, path: str) -> Any:
    if kind not in (base, *values.BARE) and not values.is_written_in_python(kind):
        raise UnlikeError(f"{path}: a {kind.__qualname__} cannot be made")
    made = kind.__new__(kind) if kind in values.BARE else base.__new__(kind)
    if base in (deque, OrderedDict):
        base.__init__(made)
    anew = getattr(kind, "made_anew", ())
    if anew:
        raise UnlikeError(f"{path}: a {kind.__qualname__} that a fresh one does not have lacks {', '.join(anew)}")
    return made
