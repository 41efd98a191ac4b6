"""Classes and functions by the names that state is saved under: of what is loaded, or named by import statements of it."""

from __future__ import annotations

import enum
import math
import operator
import sys
import sysconfig
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import torch

from nlbench.state import values

_INSTALLED: Final = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_COMPUTING: Final = ("math:", "_operator:", "torch:_VariableFunctionsClass.", "torch._C._nn:")


def _computes(value: object) -> bool:
    named = isinstance(value, types.BuiltinFunctionType) and values.name_of(value).startswith(_COMPUTING)
    return named and value is not torch.from_file


PURE: Final[dict[str, Any]] = {
    values.name_of(value): value
    for value in (
        *(list, dict, set, frozenset, tuple, int, float, complex, str, bytes, bool, deque, defaultdict, Counter, OrderedDict),
        *(abs, all, any, divmod, hash, len, max, min, pow, repr, round, sorted, sum, ..., NotImplemented),
        *(each for module in (math, operator, torch, torch.nn.functional) for each in vars(module).values() if _computes(each)),
        *(each for each in vars(torch).values() if isinstance(each, torch.layout | torch.memory_format)),
    )
}
"""By its name, code of the installation that may stand where the fresh object has none: it only computes."""

_MADE_FROM: Final = ("torch.nn", "torch.optim", "nlbench")
"""Installed packages whose classes are made where the fresh object has none yet; beside these, code that is not installed."""


def loaded(name: str, near: str = "") -> Any:
    """Return a class or function by the name of a module that is loaded, and that is the user's, torch's or ours; or None. Of
    several loaded from files of one name, the module `near` has it before others.

    A module that the user's own import statements name, and that was loaded by none so far, is imported, by the finder on
    `sys.meta_path` that knows those statements.
    """
    for finder in list(sys.meta_path):
        if (bring_in := getattr(finder, "bring_in", None)) is not None:
            bring_in(name.partition(":")[0])
    for module, found in _named(name, near):
        file = getattr(module, "__file__", None) or ""
        if name.startswith(_MADE_FROM) or not Path(file).as_posix().startswith(_INSTALLED):
            return found
    return None


def loaded_enumeration(name: str, near: str = "") -> type[enum.Enum] | None:
    """Return an enumeration by the name of a module that is loaded, whosever it is: its members are there already."""
    return next((found for _, found in _named(name, near) if isinstance(found, type) and issubclass(found, enum.Enum)), None)


def _named(name: str, near: str) -> Iterator[tuple[ModuleType, Any]]:
    """Yield each loaded module in which there is a class or function of a name, and that; first the module `near`."""
    place, _, qualified = name.partition(":")
    for key, module in [(near, sys.modules.get(near)), *sys.modules.items()]:
        if module is not None and values.trimmed(key) == place:
            found: Any = module
            for part in qualified.split("."):
                found = getattr(found, part, None)
            if isinstance(found, type | types.FunctionType) and values.name_of(found) == name:
                yield module, found
