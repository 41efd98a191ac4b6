"""A strategy of Avalanche as a learner: what a task showed is gathered, and learned as one experience when the task ends.

Source: Lomonaco et al. 2021 (arXiv 2104.00405); Avalanche 0.6, `strategy.train` and `strategy.model`.

Told    when a task ends; whose a sample is only in task-il, where tasks 1, 2, … are the task labels 0, 1, …
Stored  the samples of the present task and those that the strategy stores. A replay buffer of Avalanche is a view of whole
        tasks, which so stay in memory and are billed.
Cost    what the strategy costs, and a forward pass of each batch for its loss.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, ClassVar, Final

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import TensorDataset

from nlbench import state
from nlbench.batch import Batch, Billed, Learner, Problem
from nlbench.errors import NlbenchError

_DATA: Final = "._datasets["
"""In the path of what a data set of Avalanche holds."""


def avalanche_strategy(build: Callable[[Any, Problem], Any]) -> type[Learner]:
    """Return the learner, a class, that trains what `build(config, problem)` makes: a strategy for one seed. A decorator.

        @avalanche_strategy
        def replay(config, problem):
            model = SimpleMLP(input_size=problem.n_inputs, num_classes=problem.n_classes)
            optimizer = torch.optim.SGD(model.parameters(), lr=config.get("rate", 0.1))
            return Replay(model=model, optimizer=optimizer, criterion=CrossEntropyLoss(), train_mb_size=16)

    The model gives `problem.n_classes` logits. The strategy shuffles and batches by itself, from the generators of the seed; its
    metrics and loggers are taken out: the harness measures. A run of one that stores samples says that it keeps no checkpoint.
    Raises `NlbenchError` when it is made and Avalanche is not installed.
    """
    about = {name: getattr(build, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(build.__name__, (Strategy,), {**about, "build": staticmethod(build)})


class Gathered(Billed):
    """The batches of the present task; billed at the most that any task had."""

    def __init__(self) -> None:
        self.batches: list[tuple[Tensor, Tensor]] = []
        self.most = 0

    def add(self, inputs: Tensor, labels: Tensor) -> None:
        self.batches.append((inputs.clone(), labels.clone()))
        self.most = max(self.most, sum(each.nbytes for batch in self.batches for each in batch))

    def memory_bytes(self) -> dict[str, int]:
        return {"samples": self.most}


class Strategy(Learner):
    """A strategy that its class's `build` makes, for one seed."""

    single_seed: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("boundaries",)
    build: ClassVar[Callable[[Any, Problem], Any]]

    def __init__(self, config: Any, problem: Problem) -> None:
        if find_spec("avalanche") is None:
            raise NlbenchError("a strategy of Avalanche needs avalanche-lib.", "Install it: pip install 'nlbench[avalanche]'")
        self.strategy = type(self).build(config, problem)
        self.strategy.evaluator.metrics, self.strategy.evaluator.loggers = [], []
        self.gathered = Gathered()
        self.ended, self.label = 0, 0

    def observe(self, batch: Batch) -> Tensor:
        """Gather the batch; return the loss of the model, which stays as it is until the task ends."""
        self.gathered.add(batch.inputs, batch.labels)
        self.label = (batch.task or 1) - 1
        with torch.no_grad():
            logits = self.predict(batch.inputs, batch.task).masked_fill(~batch.classes, -torch.inf)
        return functional.cross_entropy(logits, batch.labels)

    def end_task(self) -> None:
        inputs, labels = (torch.cat(parts) for parts in zip(*self.gathered.batches, strict=True))
        self.gathered.batches.clear()
        self.strategy.train(_experience(inputs, labels, self.label, self.ended))
        self.ended += 1

    @torch.no_grad()
    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        from avalanche.models import avalanche_forward

        model = self.strategy.model
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        logits = avalanche_forward(model, inputs, torch.full((len(inputs),), (task or 1) - 1, device=inputs.device))
        for module, training in modes:
            module.training = training
        return logits

    def memory_bytes(self) -> dict[str, int]:
        held = state.collect(self.strategy, gradients=False)
        held.pop(state.STRUCTURE)
        stored = sum(value.nbytes for name, value in held.items() if _DATA in name)
        return {"parameters": sum(value.nbytes for value in held.values()) - stored, "samples": stored + self.gathered.most}


def _experience(inputs: Tensor, labels: Tensor, label: int, number: int) -> Any:
    """Return samples with a task label as the experience `number`, from 0, of a stream for training."""
    from avalanche.benchmarks.scenarios import DatasetExperience, EagerCLStream, with_task_labels
    from avalanche.benchmarks.utils import _make_taskaware_classification_dataset as made

    dataset = made(TensorDataset(inputs.cpu(), labels.cpu()), task_labels=label, targets=labels.tolist())
    experience = with_task_labels(DatasetExperience(dataset=dataset, current_experience=number))
    experience.classes_in_this_experience = sorted(dataset.targets.uniques)
    EagerCLStream("train", [experience])
    experience.current_experience = number
    return experience
