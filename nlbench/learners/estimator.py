"""An estimator of scikit-learn's kind as a learner: `partial_fit` learns, `decision_function` or `predict_proba` answers."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor
from torch.nn import functional

from nlbench import catalog, state
from nlbench.batch import Batch, Learner, Problem
from nlbench.errors import NlbenchError
from nlbench.learners.config import EstimatorConfig
from nlbench.state import UnlikeError


class Estimator(Learner):
    """One estimator a seed, which learns each batch by one `partial_fit` on flattened samples, told all classes.

    Where it has a `random_state` that is not set, the seed is it. Before its first batch all logits are 0.
    """

    single_seed: ClassVar[bool] = True
    outside = True

    def __init__(self, config: EstimatorConfig, problem: Problem) -> None:
        made = catalog.extension("learners", config.build, _learns, "an estimator with partial_fit, or what makes one")
        takes_part = inspect.isclass(made) or inspect.isfunction(made)
        self.estimator = made(**config.options) if takes_part else clone(made)
        if not hasattr(self.estimator, "partial_fit"):
            raise NlbenchError(
                f"{config.build} made {self.estimator!r}, which has no partial_fit.", "Name an estimator that has."
            )
        if self.estimator.get_params().get("random_state", 0) is None:
            self.estimator.set_params(random_state=problem.seeds[0] % 2**32)
        self.classes = np.arange(problem.n_classes)
        self.width = problem.n_inputs
        self.fitted = False

    def observe(self, batch: Batch) -> Tensor:
        inputs, labels = _flat(batch.inputs), batch.labels
        loss = functional.cross_entropy(self._logits(inputs).to(labels.device), labels)
        self.estimator.partial_fit(inputs, labels.cpu().numpy(), classes=self.classes.copy())
        self.fitted = True
        return loss

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return self._logits(_flat(inputs)).to(inputs.device)

    def state_dict(self) -> dict[str, Tensor]:
        return state.collect(_Held(self))

    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` returned. Some make parts of themselves at their first batch: where the saved one had had
        it, one of zeros is learned first.
        """
        made = clone(self.estimator)
        try:
            self._take_over(saved)
        except UnlikeError:
            zeros = np.zeros((len(self.classes), self.width), np.float32)
            self.estimator = made.partial_fit(zeros, self.classes, classes=self.classes.copy())
            self._take_over(saved)

    def _take_over(self, saved: Mapping[str, Tensor]) -> None:
        held = _Held(self)
        before = _Held(self).others
        state.restore(held, saved)
        if state.first_difference(state.collect(before), state.collect(held.others)):
            raise UnlikeError(f"{' or '.join(before)} differs from what the first batch makes")
        vars(self.estimator).update(held.parts)
        self.fitted = held.fitted

    def memory_bytes(self) -> dict[str, int]:
        """Bytes of every array that the estimator holds, wherever it does: in lists, in other estimators, in an optimizer."""
        return {"parameters": _array_bytes(self.estimator)}

    def _logits(self, inputs: np.ndarray) -> Tensor:
        if not self.fitted:
            return torch.zeros(len(inputs), len(self.classes))
        with np.errstate(divide="ignore"):  # a class that was not met yet has probability 0, whose logarithm is -inf
            return torch.as_tensor(self._answers(inputs), dtype=torch.float32)

    def _answers(self, inputs: np.ndarray) -> np.ndarray:
        if hasattr(self.estimator, "decision_function"):
            values = self.estimator.decision_function(inputs)
            return np.stack([-values, values], 1) if values.ndim == 1 else values
        if hasattr(self.estimator, "predict_proba"):
            return np.log(np.maximum(self.estimator.predict_proba(inputs), np.finfo(np.float32).tiny))
        return np.eye(len(self.classes))[self.estimator.predict(inputs)]


class _Held:
    """What an estimator holds: what can be saved, and what the rest says of itself, which its first batch is to make again."""

    def __init__(self, learner: Estimator) -> None:
        held, self.fitted = vars(learner.estimator), learner.fitted
        self.parts = {name: value for name, value in held.items() if not state.obstacles(value)}
        self.others = {name: _described(value) for name, value in held.items() if name not in self.parts}


def _described(value: object) -> object:
    """Return of an object of C what it says to `copy.copy` that it is made of: its class, arguments and state. What does not say
    that, or holds items beside, is returned as it is, and so named as what cannot be saved.
    """
    try:
        made = value.__reduce_ex__(2)
    except TypeError:
        return value
    alone = isinstance(made, tuple) and not any(made[3:])
    return [type(value), *made[1:3]] if alone else value


def _array_bytes(value: object) -> int:
    """Return the bytes of all arrays that a value is pickled with; of what cannot be pickled, those of its parts that can."""
    arrays: list[pickle.PickleBuffer] = []
    try:
        pickle.dumps(value, protocol=5, buffer_callback=arrays.append)
    except (pickle.PicklingError, AttributeError, TypeError, ValueError):
        return sum(map(_array_bytes, vars(value).values())) if hasattr(value, "__dict__") and not callable(value) else 0
    return sum(each.raw().nbytes for each in arrays)


def _flat(inputs: Tensor) -> Any:
    return inputs.flatten(1).cpu().numpy()


def _learns(value: object) -> bool:
    return hasattr(value, "partial_fit") or inspect.isfunction(value)
