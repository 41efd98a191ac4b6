"""Learners: recipes made into models that learn, all seeds at once."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from nlbench.batch import Learner, Problem
from nlbench.errors import BackendError, NlbenchError, UnknownNameError
from nlbench.learners.adapter import EachSeed
from nlbench.learners.chance import Chance
from nlbench.learners.cms import Cms
from nlbench.learners.external import Blamed, External
from nlbench.learners.hope import Hope
from nlbench.learners.hope_blocks import HopeBlocks
from nlbench.learners.mlp import Mlp
from nlbench.specs.learners import ExternalConfig
from nlbench.specs.model import Closed

LEARNERS: Final[dict[str, type[Learner]]] = {
    "mlp": Mlp,
    "cms": Cms,
    "hope": Hope,
    "hope-blocks": HopeBlocks,
    "chance": Chance,
}
"""The class of every built-in kind."""


def build(config: Closed, problem: Problem) -> Learner:
    """Return the declared learner, ready for its first batch. An external class gets its options as a plain dict.

    Raises `BackendError` for a precision that the learner does not declare.
    """
    name = config.kind  # type: ignore[attr-defined]
    kind = find(name) if isinstance(config, ExternalConfig) else LEARNERS[name]
    if problem.precision not in kind.precisions:
        able = [each for each, built_in in LEARNERS.items() if problem.precision in built_in.precisions]
        raise BackendError(
            f"learner {name!r} has no products in {problem.precision}: it declares {' and '.join(kind.precisions)}.",
            f"Leave --precision out, or take a learner that declares it: {', '.join(able)}.",
        )
    if not isinstance(config, ExternalConfig):
        return kind(config, problem)
    checked = partial(_named(External, kind), kind, config.kind)
    return _named(EachSeed, kind)(checked, config.options, problem) if kind.single_seed else checked(config.options, problem)


def _named(wrapper: type[Learner], kind: type[Learner]) -> Callable[..., Learner]:
    """Return the wrapper under the name of the class in it, by which errors call it."""
    return type(kind.__name__, (wrapper,), {})


def find(kind: str) -> type[Learner]:
    """Return the class that `./file.py:Class`, `package.module:Class`, or `:name` of a registered `nlbench.learners` entry
    point names.
    """
    place, _, name = kind.rpartition(":")
    if not place:
        registered = {point.name: point for point in entry_points(group="nlbench.learners")}
        if name not in registered:
            raise UnknownNameError("learner", name, [*LEARNERS, *registered])
        with Blamed(kind):
            return _checked(registered[name].load(), kind)
    module = _from_file(Path(place)) if place.endswith(".py") else _from_package(place)
    if not hasattr(module, name):
        classes = [label for label, value in vars(module).items() if inspect.isclass(value) and issubclass(value, Learner)]
        raise UnknownNameError(f"class in {place}", name, classes)
    return _checked(getattr(module, name), kind)


def _checked(value: object, kind: str) -> type[Learner]:
    if not (inspect.isclass(value) and issubclass(value, Learner)):
        raise NlbenchError(f"{kind}: must be a subclass of nlbench.Learner, got {value!r}.")
    return value


def _from_file(path: Path) -> object:
    name = f"{path.stem}@{path.resolve()}"  # no module it could replace has such a name
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise NlbenchError(f"{path}: there is no such file.", "Name a learner as ./file.py:Class.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    with Blamed(str(path), str(spec.origin)):
        spec.loader.exec_module(module)
    return module


def _from_package(name: str) -> object:
    with Blamed(name):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise NlbenchError(f"{name}: cannot be imported: {error}.", "Name a learner as package.module:Class.") from None


__all__ = ["LEARNERS", "EachSeed", "build", "find"]
