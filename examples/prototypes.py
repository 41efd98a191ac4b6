"""A learner of all seeds at once: inputs are (seeds, batch, *input_shape), labels (seeds, batch).

Every tensor has the seed axis first, and seed 3 gives the same alone or beside nine others. What is drawn is drawn by name, such
as `nlbench.seeds.normal(problem.seeds, "init/weight", shape)`.
Run `nlbench run --model ./prototypes.py:Prototypes --stream split-digits`.
"""

import torch

import nlbench


class Prototypes(nlbench.Learner):
    """Assigns an input to the nearest class mean."""

    def __init__(self, config, problem):
        seeds, classes = len(problem.seeds), problem.n_classes
        self.sums = torch.zeros(seeds, classes, problem.n_inputs, device=problem.device)
        self.counts = torch.zeros(seeds, classes, 1, device=problem.device)

    def observe(self, batch):
        hits = torch.nn.functional.one_hot(batch.labels, self.counts.shape[1]).float()
        loss = torch.nn.functional.cross_entropy(self.predict(batch.inputs, None).mT, batch.labels, reduction="none").mean(1)
        self.sums += hits.mT @ batch.inputs.flatten(2)
        self.counts += hits.sum(1)[..., None]
        return loss

    def predict(self, inputs, task):
        means = self.sums / self.counts.clamp_min(1)
        return -torch.cdist(inputs.flatten(2).expand(len(means), -1, -1), means)
