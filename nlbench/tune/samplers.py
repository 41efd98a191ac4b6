"""Who says what is tried next: a sampler is asked for a point and told how it went, which some learn from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final, Literal

from nlbench import seeds as draws
from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.tune.space import Range, Space, candidates, drawn

Point = dict[str, str]
SAMPLERS: Final = ("grid", "random", "tpe")
MOST_REPEATS: Final = 100
"""Points in a row that were tried already, after which a sampler has no more."""


class Sampler(ABC):
    """Gives points of a space, none twice."""

    def __init__(self) -> None:
        self._given: set[tuple[tuple[str, str], ...]] = set()

    def ask(self) -> Point | None:
        """Return a point that was not given before, None when there is no more."""
        for point in islice(iter(self._next, None), MOST_REPEATS):
            key = tuple(point.items())
            if key not in self._given:
                self._given.add(key)
                return point
            self.tell(point, None, again=True)
        return None

    @abstractmethod
    def _next(self) -> Point | None:
        """Return the next point, None when there is no more."""

    def tell(self, point: Point, score: float | None, *, again: bool = False) -> None:  # noqa: B027 - most learn nothing
        """Take how a point went: the higher the better, None where it diverged; `again`: it was known."""


class Listed(Sampler):
    """The grid, or a fixed random part of it where it is larger than the budget."""

    def __init__(self, space: Mapping[str, Sequence[str]], budget: int) -> None:
        super().__init__()
        self._rest = iter(candidates(space, budget))

    def _next(self) -> Point | None:
        return next(self._rest, None)


class Random(Sampler):
    """Every key's value drawn for itself, the same points in every search."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self._space = space
        self._number = 0

    def _next(self) -> Point:
        self._number += 1
        return drawn(self._space, self._number - 1)


class Tpe(Sampler):
    """Optuna's tree-structured Parzen estimator (Bergstra et al. 2011): points like the best, unlike the rest. What diverged is
    counted among the worst.
    """

    def __init__(self, space: Space) -> None:
        super().__init__()
        try:
            import optuna
        except ImportError:
            raise NlbenchError("the sampler tpe needs the extra `tune`.", 'Get it: pip install "nlbench[tune]".') from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna = optuna
        self._space = space
        seed = int(draws.generator(draws.FIXED, f"tune/tpe/{sorted(space)}").integers(2**31))
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._running: dict[tuple[tuple[str, str], ...], Any] = {}

    def _next(self) -> Point:
        trial = self._study.ask()
        point = {key: self._suggested(trial, key, values) for key, values in self._space.items()}
        self._running[tuple(point.items())] = trial
        return point

    def tell(self, point: Point, score: float | None, *, again: bool = False) -> None:
        trial = self._running.pop(tuple(point.items()), None)
        if trial is None:
            return
        state = self._optuna.trial.TrialState
        if again:
            self._study.tell(trial, state=state.FAIL)
        elif score is None:
            self._study.tell(trial, state=state.PRUNED)
        else:
            self._study.tell(trial, score)

    def _suggested(self, trial: Any, key: str, values: Sequence[str] | Range) -> str:
        if not isinstance(values, Range):
            return str(trial.suggest_categorical(key, list(values)))
        if values.whole:
            return str(trial.suggest_int(key, int(values.low), int(values.high), log=values.log))
        return f"{trial.suggest_float(key, values.low, values.high, log=values.log):.6g}"


def sampler_of(name: Literal["grid", "random", "tpe"] | str, space: Space, budget: int) -> Sampler:
    """Return the sampler of a name for a space. Raises `NlbenchError` where it has no grid, or its extra is not there."""
    if name not in SAMPLERS:
        raise UnknownNameError("sampler", name, SAMPLERS)
    if name == "tpe":
        return Tpe(space)
    if name == "random":
        return Random(space)
    lists: dict[str, Sequence[str]] = {}
    for key, values in space.items():
        if isinstance(values, Range):
            raise NlbenchError(f"--space {key}={values}: a grid has no ranges.", "List values, or use --sampler random or tpe.")
        lists[key] = values
    return Listed(lists, budget)
