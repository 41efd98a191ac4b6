"""Classes that are given as they are: of a notebook, of a prompt, of the script that is running.

No file need hold such a class, and one that did may have changed since. So its identity is what would run: the code of its
methods and of all that they read, function by function and value by value, down to what is installed; compiled code, so each
version of Python has its own. What cannot be told from its like, such as a lock, is named.
"""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from hashlib import blake2b
from importlib.util import find_spec
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

import numpy as np

from nlbench.closure.outside import Reached
from nlbench.ownership import is_own

MAIN: Final = "__main__"
OBJECT: Final = ".object"
"""Ends the name of an object of a class."""
OWN: Final = __name__.partition(".")[0]
_NAMED: Final = ("LOAD_GLOBAL", "LOAD_NAME", "IMPORT_NAME")
_SAYS_NOTHING: Final = frozenset(
    (
        *("__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__annotate__"),
        *(
            "__annotate_func__",
            "__annotations_cache__",
            "__qualname__",
            "__firstlineno__",
            "__static_attributes__",
            "__abstractmethods__",
        ),
        *("_abc_impl", "__orig_bases__", "__parameters__", "__type_params__", "__dataclass_fields__", "__dataclass_params__"),
    )
)
"""Of a class: where and how it is written, and what is made of the rest."""
_PLAIN: Final = (type(None), bool, int, float, complex, str, bytes, type(...))

_GIVEN: Final[dict[str, Any]] = {}


def give(value: Any) -> str:
    """Return the name `module:Class` by which a class or function is found from now on, whatever its module holds; of an object
    of a class, `module:Class.object`.
    """
    kind = value if isinstance(value, type | FunctionType) else type(value)
    label = kind.__qualname__.rpartition(".<locals>.")[2]
    name = f"{kind.__module__}:{label}{'' if kind is value else OBJECT}"
    _GIVEN[name] = value
    return name


def given(name: str) -> Any:
    """Return what was given under a name, or the class that the session has under `__main__:Class`; None where there is none."""
    module, _, label = name.partition(":")
    if module == MAIN:
        value: Any = sys.modules.get(MAIN)
        for part in label.split("."):
            value = getattr(value, part, None)
        if inspect.isclass(value) and name not in _GIVEN:
            return value
    return _GIVEN.get(name)


def reached(name: str, value: Any) -> Reached:
    """Return what a class or an object reaches, as it is now in this process."""
    walk = _Walk()
    form = walk.form(value)
    return Reached({name: _hashed([form])}, {}, tuple(walk.package), tuple(walk.unknown))


class _Walk:
    """The form of values as text: equal where they would do the same."""

    def __init__(self) -> None:
        self.package: dict[str, None] = {}  # modules of this package
        self.unknown: dict[str, None] = {}  # types of values that have no form
        self._seen: dict[int, tuple[Any, int]] = {}  # kept, lest another takes the place of one that is gone

    def form(self, value: Any, names: frozenset[str] = frozenset()) -> str:
        """Return the form of a value; of a module only what `names` may mean."""
        if isinstance(value, _PLAIN) and type(value) in _PLAIN:
            return f"{type(value).__name__} {value!r}"
        if isinstance(value, ModuleType):
            return self._module(value, names)
        if type(value) is tuple:
            return _group("tuple", map(self.form, value))
        if id(value) in self._seen:
            return f"again {self._seen[id(value)][1]}"
        self._seen[id(value)] = value, len(self._seen)
        if type(value) is list:
            return _group("list", map(self.form, value))
        if type(value) is dict:
            return _group("dict", (self.form(part) for item in value.items() for part in item))
        if type(value) in (set, frozenset):
            return _group("set", sorted(map(self.form, value)))
        if isinstance(value, CodeType):
            return self._code(value, {})
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, MethodType):
            return _group("method", [self.form(value.__self__), self.form(value.__func__)])
        if isinstance(value, staticmethod | classmethod):
            return _group(type(value).__name__, [self.form(value.__func__)])
        if isinstance(value, property):
            return _group("property", map(self.form, (value.fget, value.fset, value.fdel)))
        if isinstance(value, cached_property):  # whose lock, of Python 3.11, is no part of what it does
            return _group("cached_property", [self.form(value.func)])
        if isinstance(value, type):
            return self._class(value)
        return self._numbers(value) or self._object(value)

    def _module(self, module: ModuleType, names: frozenset[str]) -> str:
        held = {name: value for name, value in vars(module).items() if name in names and value is not module}
        if self._is_live(module.__name__):
            return _group(f"module {module.__name__}", (f"{name} {self.form(value, names)}" for name, value in held.items()))
        if _top(module.__name__) == OWN:
            for value in held.values():
                self._is_live(getattr(value, "__module__", None) or getattr(value, "__name__", None))
        return f"module {module.__name__}"

    def _is_live(self, module: str | None) -> bool:
        """Whether what a module holds is to be looked at: it is neither this package's nor installed."""
        top = _top(module)
        if top == OWN:
            self.package[str(module)] = None
        if top == MAIN:  # whatever file started it
            return True
        if top == OWN or top in sys.stdlib_module_names:
            return False
        files = [getattr(sys.modules.get(name), "__file__", None) for name in (str(module), top)]
        return all(map(is_own, filter(None, files)))

    def _function(self, function: FunctionType) -> str:
        held = [self.form(cell.cell_contents) for cell in function.__closure__ or () if not _is_empty(cell)]
        if self._is_live(function.__globals__.get("__name__")):
            parts = [self._code(function.__code__, function.__globals__), self.form(function.__defaults__)]
            return _group("function", [*parts, self.form(function.__kwdefaults__), *held, self.form(dict(vars(function)))])
        name = f"function {function.__module__}.{function.__qualname__}"  # perhaps around one that is
        return _group(name, [*held, self.form(getattr(function, "__wrapped__", None))])

    def _code(self, code: CodeType, names: Mapping[str, Any]) -> str:
        counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
        parts = [code.co_code.hex(), repr((counts, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))]
        parts.append(getattr(code, "co_exceptiontable", b"").hex())
        texts = frozenset((*code.co_names, *(one for one in code.co_consts if isinstance(one, str))))
        for constant in code.co_consts:
            parts.append(self._code(constant, names) if isinstance(constant, CodeType) else self.form(constant))
        for kind, name in sorted({(one.opname, one.argval) for one in dis.get_instructions(code) if one.opname in _NAMED}):
            if kind == "IMPORT_NAME":
                parts += self._imported(name, texts)
            elif name in names:
                parts.append(f"{name} {self.form(names[name], texts)}")
        return _group("code", parts)

    def _imported(self, name: str, texts: frozenset[str]) -> Iterator[str]:
        """Yield the form of a module that code imports when it runs."""
        module = sys.modules.get(name)
        if module is not None:
            yield self.form(module, texts)
        elif _top(name) != OWN and _top(name) not in sys.stdlib_module_names and _is_own_source(name):
            self.unknown[f"the module {name}, which is not imported yet"] = None

    def _class(self, kind: type) -> str:
        name = f"class {kind.__module__}.{kind.__qualname__}"
        if not self._is_live(kind.__module__):
            return name
        fields = getattr(kind, "model_fields", None)  # of pydantic, whose own attributes are made of them
        held = {label: value for label, value in vars(kind).items() if label not in _SAYS_NOTHING}
        if isinstance(fields, dict):
            held = {label: value for label, value in held.items() if isinstance(value, FunctionType | classmethod | staticmethod)}
        parts = [repr(fields), *map(self.form, kind.__bases__)]
        return _group(name, [*parts, *(f"{label} {self.form(value)}" for label, value in held.items())])

    def _numbers(self, value: Any) -> str:
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.Tensor):
            if torch.nn.parameter.is_lazy(value):  # it has no size yet, and no numbers
                return f"tensor {value.dtype} lazy"
            array = value.detach().cpu().contiguous()
            return f"tensor {array.dtype} {tuple(array.shape)} {_digest(array.flatten().view(torch.uint8).numpy().tobytes())}"
        if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
            return f"array {value.dtype} {value.shape} {_digest(value.tobytes())}"
        return ""

    def _object(self, value: Any) -> str:
        """Return the form of any other object: what it would be copied by."""
        try:
            way = value.__reduce_ex__(4)
        except (TypeError, ValueError, AttributeError, RuntimeError, NotImplementedError):
            self.unknown[f"a {type(value).__name__}"] = None
            return "unknown"
        if isinstance(way, str):
            name = f"{getattr(value, '__module__', None) or type(value).__module__}.{way}"
            return _group(name, [self.form(getattr(value, "__wrapped__", None))])
        return _group("object", (self.form(list(part) if isinstance(part, Iterator) else part) for part in way))


def _group(name: str, parts: Iterable[str]) -> str:
    return f"({name} {_hashed(parts)})"


def _top(module: str | None) -> str:
    return str(module).partition(".")[0]


def _is_own_source(module: str) -> bool:
    """Whether a module that is not imported is a user's own; one that is not there is none."""
    found = find_spec(_top(module))
    return found is not None and bool(found.origin) and is_own(str(found.origin))


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=8).hexdigest()


def _hashed(parts: Iterable[str]) -> str:
    content = blake2b(digest_size=8)
    for part in parts:
        content.update(f"{len(part)} {part}".encode("utf-8", "surrogatepass"))
    return content.hexdigest()


def _is_empty(cell: Any) -> bool:
    try:
        return cell.cell_contents is cell
    except ValueError:
        return True
