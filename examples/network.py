"""An ordinary torch network, its optimizer and its loss, as a learner: the harness trains one for each seed.

Run `nlbench run --model ./network.py:Network --stream split-digits`.
"""

import torch
from torch import nn

import nlbench


class Network(nlbench.Learner):
    single_seed = True

    def __init__(self, config, problem):
        layers = nn.Linear(problem.n_inputs, 64), nn.ReLU(), nn.Linear(64, problem.n_classes)
        self.network = nn.Sequential(nn.Flatten(), *layers).to(problem.device)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=config.get("rate", 0.01))

    def observe(self, batch):
        with torch.enable_grad():
            loss = nn.functional.cross_entropy(self.network(batch.inputs), batch.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def predict(self, inputs, task):
        return self.network(inputs)
