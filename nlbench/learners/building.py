"""A declared learner -> the learner, ready for its first batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Final

from nlbench import catalog
from nlbench.batch import Learner, Problem
from nlbench.errors import BackendError
from nlbench.learners.adapter import EachSeed
from nlbench.learners.external import External
from nlbench.specs import Closed, ExternalConfig, own_config

_OTHERS: Final = (
    "A torch module or an estimator with partial_fit is run from Python, nlbench.run(Class, …), or by a recipe, a file of TOML: "
    "[learner] kind = 'naive' with network = {{ kind = 'module', build = '{0}' }}, or kind = 'estimator' with build = '{0}'."
)


def build(config: Closed, problem: Problem) -> Learner:
    """Return the declared learner, ready for its first batch. An external class gets its options as its own `Config`, or as a
    plain dict where it has none.

    Raises `BackendError` for a precision that the learner does not declare.
    """
    name = config.kind  # type: ignore[attr-defined]
    kind = find(name)
    if problem.precision not in kind.precisions:
        able = [each for each in catalog.LEARNERS if problem.precision in find(each).precisions]
        raise BackendError(
            f"learner {name!r} has no products in {problem.precision}: it declares {' and '.join(kind.precisions)}.",
            f"Leave --precision out, or take a learner that declares it: {', '.join(able)}.",
        )
    if not isinstance(config, ExternalConfig) and not kind.outside:
        return kind(config, problem)
    if isinstance(config, ExternalConfig):
        place, own = name, own_config(config, kind)
    else:
        place, own = config.build, config  # type: ignore[attr-defined]
    checked = partial(_named(External, kind), kind, place)
    return _named(EachSeed, kind)(checked, own, problem) if kind.single_seed else checked(own, problem)


def find(kind: str) -> type[Learner]:
    """Return the class of a kind of learner: ours, a registered one, or that of `./file.py:Class` or `package.module:Class`."""
    return catalog.extension("learners", kind, _is_learner, "a subclass of nlbench.Learner", _OTHERS.format(kind))


def _is_learner(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Learner)


def _named(wrapper: type[Learner], kind: type[Learner]) -> Callable[..., Learner]:
    """Return the wrapper under the name of the class in it, by which errors call it."""
    return type(kind.__name__, (wrapper,), {})
