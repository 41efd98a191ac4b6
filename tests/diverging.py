"""Learners whose odd seeds diverge, and of which none can be made, as the texts of their files."""

ODD = """
import torch
from nlbench import Learner

class Odd(Learner):
    \"\"\"Its loss is NaN in the second batch of odd seeds.\"\"\"
    def __init__(self, config, problem):
        self.seeds, self.classes, self.steps = problem.seeds, problem.n_classes, 0
    def observe(self, batch):
        self.steps += 1
        return torch.tensor([float("nan") if seed % 2 and self.steps == 2 else 0.5 for seed in self.seeds])
    def predict(self, inputs, task):
        return torch.ones(len(self.seeds), inputs.shape[1], self.classes)
"""

FAILING = """
from nlbench import Learner

class Failing(Learner):
    def __init__(self, config, problem):
        raise ValueError("no such width")
    def observe(self, batch): ...
    def predict(self, inputs, task): ...
"""
