"""Replay as Avalanche has it, as a learner: one strategy a seed, on a stream, in a record and in tables beside all others.

It learns a task when that ends, so the run must tell it. Needs `pip install 'nlbench[avalanche]'`. Run
`nlbench run --model ./avalanche_strategy.py:replay --stream split-digits --set protocol.boundaries=true`.
"""

import torch
from torch import nn

from nlbench.learners.avalanche import avalanche_strategy


@avalanche_strategy
def replay(config, problem):
    from avalanche.models import SimpleMLP
    from avalanche.training import Replay

    model = SimpleMLP(input_size=problem.n_inputs, num_classes=problem.n_classes, hidden_size=64, drop_rate=0)
    return Replay(
        model=model.to(problem.device),
        optimizer=torch.optim.SGD(model.parameters(), lr=config.get("rate", 0.1)),
        criterion=nn.CrossEntropyLoss(),
        mem_size=config.get("mem_size", 200),
        train_mb_size=16,
        device=problem.device,
    )
