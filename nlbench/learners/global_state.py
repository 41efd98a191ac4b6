"""Global state of a learner's code: what it uses and the learner does not hold, data of classes, modules and functions."""

from __future__ import annotations

import enum
import io
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import cached_property, singledispatchmethod
from threading import local
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from nlbench.ownership import is_own_file

_HOLDERS: Final = frozenset({"array", "builtins", "collections", "numpy", "random", "torch", "types", "weakref"})
"""Packages whose objects hold data; what others made is data if somebody wrote it for their learner."""
_THEIRS: Final = frozenset({"nlbench", "torch", *sys.stdlib_module_names})


def held_now(value: object) -> object:
    """Return what a variable of the context or of a thread holds here and now; any other value as it is."""
    if isinstance(value, ContextVar):
        return value.get(None)
    return vars(value) if isinstance(value, local) else value


class Data:
    """Holds in attributes what is no attribute of an object, so that it is named as they are."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        vars(self).update(values)


def named(kind: type) -> Mapping[str, Any]:
    """Return what names of a class stand for; not the members that an enumeration makes and keeps when flags are combined."""
    if issubclass(kind, enum.Enum):
        return {name: value for name, value in vars(kind).items() if name != "_value2member_map_"}
    return vars(kind)


def own_classes(kind: type) -> list[type]:
    """Return a class and those it is made of, without the package's, torch's and Python's own."""
    return [each for each in kind.__mro__ if _top(each.__module__) not in _THEIRS]


def everything(kind: type) -> dict[str, Data]:
    """Return what names of a class, of those it is made of and of the modules that their code uses stand for, as far as it is
    data or code of theirs.
    """
    walk = _Reach(kind)
    package = _top(kind.__module__)
    classes = {f"class {each.__qualname__}/": named(each) for each in walk.classes}
    modules = {f"module {name}/": vars(sys.modules[name]) for name in walk.modules if name in sys.modules}
    return {place: _data(values, package) for place, values in (classes | modules).items()}


def used(kind: type) -> dict[str, Any]:
    """Return the data that the methods of a class reach by name and that no instance holds, by where it stands: of the class, of
    modules, and of functions, which hold it in defaults, closures and attributes.
    """
    return _Reach(kind).found


def is_iterator(value: object) -> bool:
    """Return whether a value goes on from where it stands, which nothing can read: a generator, a count."""
    return isinstance(value, Iterator) and not isinstance(value, io.IOBase)


class _Reach:
    """Follows names from code to what they stand for."""

    def __init__(self, kind: type) -> None:
        self.found: dict[str, Any] = {}
        self.modules: dict[str, None] = {}
        self.classes: list[type] = []
        self._package = _top(kind.__module__)
        self._seen: set[int] = set()
        for each in own_classes(kind):
            self._of_class(each)

    def _of_class(self, kind: type) -> None:
        if self._is_new(kind):
            self.modules[kind.__module__] = None
            self.classes.append(kind)
            for name, value in named(kind).items():
                self._meet(f"class {kind.__qualname__}.{name}", value, frozenset())

    def _meet(self, place: str, value: Any, names: frozenset[str]) -> None:
        """Follow what stands at a place; of a module what `names` may mean."""
        for function in _functions(value):
            self._of_function(function)
        if isinstance(value, ModuleType) and self._is_own(value.__name__):
            self.modules[value.__name__] = None
            for name in names & vars(value).keys():
                self._meet(f"module {value.__name__}.{name}", vars(value)[name], names - {name})
        elif isinstance(value, type) and self._is_own(value.__module__):
            for each in own_classes(value):
                self._of_class(each)
        elif not place.endswith("__") and is_data(held := held_now(value), self._package):
            self.found[place] = held

    def _of_function(self, function: FunctionType) -> None:
        module = _written_in(function)
        if not self._is_own(module) or not self._is_new(function):
            return
        self.modules[module] = None
        self.found[f"function {function.__qualname__}"] = function
        names = frozenset(_names(function.__code__))
        for name in names & function.__globals__.keys():
            self._meet(f"module {module}.{name}", function.__globals__[name], names)
        for cell in function.__closure__ or ():
            if not _is_empty(cell):
                self._meet("closure__", cell.cell_contents, names)

    def _is_own(self, module: str) -> bool:
        if _top(module) in _THEIRS:
            return False
        file = getattr(sys.modules.get(module), "__file__", None)
        return _top(module) in (self._package, "__main__") or file is None or is_own_file(file)

    def _is_new(self, value: object) -> bool:
        new = id(value) not in self._seen
        self._seen.add(id(value))
        return new


def _functions(value: Any) -> list[FunctionType]:
    """Return the functions of a value that stands among a class's or a module's names."""
    if isinstance(value, property):
        held = [value.fget, value.fset, value.fdel]
    elif isinstance(value, cached_property | singledispatchmethod):
        held = [value.func]
    else:
        held = [getattr(value, "__wrapped__", None), getattr(value, "__func__", value)]
    return [each for each in held if isinstance(each, FunctionType)]


def _written_in(function: FunctionType) -> str:
    """Return the module of a function's code: what a decorator of others put around one of somebody's own says it is theirs."""
    return str(function.__globals__.get("__name__", ""))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_empty(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - raises where nothing was assigned yet
    except ValueError:
        return True
    return False


def _data(values: Mapping[str, Any], package: str) -> Data:
    found: dict[str, Any] = {}
    for name, value in values.items():
        made = held_now(value.__func__ if isinstance(value, classmethod | staticmethod) else value)
        if isinstance(made, property):
            found[name] = [made.fget, made.fset, made.fdel]
        elif isinstance(made, FunctionType):
            found |= {name: made} if _top(_written_in(made)) == package else {}
        elif not (name.startswith("__") and name.endswith("__")) and is_data(made, package):
            found[name] = made
    return Data(found)


def is_data(value: object, package: str) -> bool:
    """Return whether a value is of a class that holds data, or of one that somebody wrote for their learner."""
    module = type(value).__module__
    if is_iterator(value):
        return True
    if _top(module) in {package, *_HOLDERS}:
        return not isinstance(value, FunctionType | MethodType | ModuleType | classmethod | staticmethod | property | type)
    file = getattr(sys.modules.get(module), "__file__", None) or "site-packages"
    return _top(module) not in {"nlbench", *sys.stdlib_module_names} and "site-packages" not in file


def _top(module: str | None) -> str:
    return (module or "").partition(".")[0]
