"""Avalanche's strategies on split-mnist as a program: what their users write, with nothing printed or logged.

`python -m nlbench.bench.avalanche MODEL FOLDER` does the work of `nlbench run --model MODEL --stream split-mnist --seeds 1 --set
protocol.evaluate_every=none`: five pairs of digits, an MLP 256-256, one pass in batches of 128, measured on all tasks before the
first and after each.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from nlbench.bench.loop import mnist_tasks

BATCH: Final = 128
STRATEGIES: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "mlp": ("Naive", {}),
    "ewc": ("EWC", {"ewc_lambda": 1.0}),
    "lwf": ("LwF", {"alpha": 1.0, "temperature": 2.0}),
    "er": ("Replay", {"mem_size": 500}),
    "derpp": ("DER", {"mem_size": 500, "alpha": 0.2, "beta": 1.0}),
    "a-gem": ("AGEM", {"patterns_per_exp": 100, "sample_size": BATCH}),
}
"""{recipe: the class of its strategy, and what it is made with}; DER with a beta is DER++."""


def main(model: str, folder: str) -> None:
    """Write the average accuracy at the end, and the seconds of training, as a line of JSON."""
    warnings.simplefilter("ignore")
    from avalanche import training
    from avalanche.benchmarks import tensors_benchmark
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.models import SimpleMLP
    from avalanche.training.plugins import EvaluationPlugin

    tasks = mnist_tasks("split-mnist", Path(folder), seed=0)
    benchmark = tensors_benchmark(
        [(task.inputs[task.rows], task.labels) for task in tasks],
        [(task.test_inputs, task.test_labels) for task in tasks],
        task_labels=[0] * len(tasks),
    )
    network = SimpleMLP(num_classes=10, hidden_size=256, hidden_layers=2, drop_rate=0)
    name, settings = STRATEGIES[model]
    strategy = getattr(training, name)(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=BATCH,
        eval_mb_size=500,
        evaluator=EvaluationPlugin(accuracy_metrics(experience=True), loggers=[]),
        **settings,
    )
    strategy.eval(benchmark.test_stream)
    seconds = 0.0
    for experience in benchmark.train_stream:
        clock = time.perf_counter()
        strategy.train(experience)
        seconds += time.perf_counter() - clock
        measured = strategy.eval(benchmark.test_stream)
    accuracies = [value for name, value in measured.items() if name.startswith("Top1_Acc_Exp/eval_phase")]
    sys.stdout.write(json.dumps({"average_accuracy": sum(accuracies) / len(accuracies), "train": seconds}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
