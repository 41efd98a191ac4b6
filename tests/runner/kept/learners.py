"""Learners as people write them, each with another kind of state. NLBENCH_STOP="N SIGNAL" sends a signal at step N, or when the
task of step N ends if N is followed by "end".
"""

from __future__ import annotations

import enum
import os
import random
import signal
from collections import deque

import numpy as np
import torch
import torch.nn.functional as F
from buffers import Buffer
from torch import nn

from nlbench import Learner


class Stopped(Learner):
    """A linear network, and the signal."""

    single_seed = True
    needs = ()

    def __init__(self, config, problem):
        torch.manual_seed(problem.seeds[0])
        self.net = nn.Linear(problem.n_inputs, problem.n_classes)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.01)
        self.count = 0
        self.first = problem.seeds[0] == 0

    def observe(self, batch):
        self.count += 1
        self.stop("")
        x, y = batch.inputs.flatten(1), batch.labels
        loss = F.cross_entropy(self.net(x), y)
        self.learn(x, y)
        return loss.detach()

    def learn(self, x, y):
        self.descend(x, y)

    def descend(self, x, y):
        self.optimizer.zero_grad()
        F.cross_entropy(self.net(x), y).backward()
        self.optimizer.step()

    def predict(self, inputs, task):
        with torch.no_grad():
            return self.net(inputs.flatten(1))

    def end_task(self):
        self.stop("end")

    def stop(self, where):
        step, name, *at = os.environ.get("NLBENCH_STOP", "0 SIGTERM").split()
        if self.first and self.count == int(step) and where == "".join(at):
            os.kill(os.getpid(), getattr(signal, name))


class Importing(Stopped):
    """An object of a module that it imports when it needs it."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.mean = None

    def learn(self, x, y):
        from late import Mean

        self.mean = self.mean or Mean()
        self.descend(x - self.mean.with_another(x), y)


class Pairs(Stopped):
    """A list of pairs."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.samples = []

    def learn(self, x, y):
        if self.samples:
            self.descend(torch.stack([each for each, _ in self.samples]), torch.stack([each for _, each in self.samples]))
        self.samples.append((x[0].clone(), y[0].clone()))
        self.descend(x, y)


class Means(Stopped):
    """A dict of tensors."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.sums, self.counts = {}, {}

    def learn(self, x, y):
        for label in y.unique().tolist():
            self.sums[label] = self.sums.get(label, 0) + x[y == label].sum(0)
            self.counts[label] = self.counts.get(label, 0) + int((y == label).sum())

    def predict(self, inputs, task):
        logits = torch.full((len(inputs), self.net.out_features), -1e9)
        for label, total in self.sums.items():
            logits[:, label] = -(inputs.flatten(1) - total / self.counts[label]).square().sum(1)
        return logits


class Buffered(Stopped):
    """A plain object of a module beside this one."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.buffer = Buffer(3)

    def learn(self, x, y):
        self.descend(x, y)
        for each, label in zip(x, y, strict=True):
            self.buffer.add(each, label)
        for each, label in self.buffer.samples():
            self.descend(each[None], torch.tensor([label]))


class Scheduled(Stopped):
    """A schedule, a counter, three kinds of generators, dropout."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, problem.steps)
        self.random = random.Random(1)
        self.numpy = np.random.default_rng(2)
        self.dropout = nn.Dropout(0.3)
        self.mean = np.float64(0)

    def learn(self, x, y):
        self.mean = 0.9 * self.mean + 0.1 * np.float64(x.mean())
        noise = self.random.random() + self.numpy.normal() + random.random() + np.random.rand() + torch.rand(())  # noqa: NPY002 - as people do
        self.descend(self.dropout(x) + 0.1 * noise + self.mean, y)
        self.schedule.step()


class Growing(Stopped):
    """A module with a part more a task, a list of tensors that grows."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.heads = nn.ModuleList([self.net])
        self.norms = []

    def learn(self, x, y):
        self.descend(x, y)
        self.norms.append(self.net.weight.norm().detach())

    def end_task(self):
        self.heads.append(nn.Linear(self.net.in_features, self.net.out_features))
        self.net = self.heads[-1]
        self.optimizer = torch.optim.SGD(self.heads.parameters(), lr=0.05, momentum=0.9)
        super().end_task()

    def predict(self, inputs, task):
        with torch.no_grad():
            return torch.stack([head(inputs.flatten(1)) for head in self.heads]).mean(0) + sum(self.norms)


class Reservoir(Stopped):
    """A deque, and what Python draws."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.recent = deque(maxlen=8)
        self.reservoir = []
        self.seen = 0

    def learn(self, x, y):
        for pair in zip(x, y, strict=True):
            self.seen += 1
            self.recent.append(pair)
            place = random.randrange(self.seen)
            if len(self.reservoir) < 10:
                self.reservoir.append(pair)
            elif place < 10:
                self.reservoir[place] = pair
        chosen = [*self.recent, *random.sample(self.reservoir, min(5, len(self.reservoir)))]
        self.descend(torch.stack([each for each, _ in chosen]), torch.stack([label for _, label in chosen]))


class Phase(enum.IntFlag):
    """What was seen."""

    FIRST = 1
    LAST = 2


class Odd(Stopped):
    """Flags, built-in functions as keys and values, an expanded tensor, views of arrays, a set whose order differs by process."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.phase, self.phases = Phase(0), {Phase.FIRST: 0}
        self.summed, self.best, self.pick = {max: 0.0, torch.sum: 0.0}, {}, None
        self.scale = torch.ones(1)
        self.scales = self.scale.expand(8)
        self.ring = np.zeros((4, 8))
        self.newest = self.ring[0]
        self.names = {("seen", Phase.FIRST)}

    def learn(self, x, y):
        for function in self.summed:
            self.summed[function] += float(function(x.flatten() if function is max else x))
        self.phase ^= Phase.FIRST | Phase.LAST if self.count % 3 else Phase.LAST
        self.phases[self.phase] = self.phases.get(self.phase, 0) + 1
        self.scale *= 0.99
        self.ring[self.count % 4] = x[:, :1].mean().item()
        self.best[len], self.pick = self.count, torch.tanh if self.count % 2 else torch.sigmoid
        self.names.add(("seen", self.phase))
        self.descend(self.pick(x) * self.scales[0] + float(self.newest.sum()) + len(self.names) + int(self.phase), y)


class Ending(Stopped):
    """Ends the process as if all were well."""

    def learn(self, x, y):
        os._exit(0)


class Writing(Stopped):
    """Holds an open file."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.log = open(os.devnull, "w")  # noqa: SIM115


class Forgetful(Stopped):
    """Says itself what it holds, and forgets its samples."""

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.samples = []

    def learn(self, x, y):
        self.descend(x, y)
        self.samples.append(x[0].clone())

    def descend(self, x, y):
        loss = F.cross_entropy(self.net(x), y)
        with torch.no_grad():
            for parameter, gradient in zip(self.net.parameters(), torch.autograd.grad(loss, self.net.parameters()), strict=True):
                parameter -= 0.1 * gradient

    def state_dict(self):
        return {**self.net.state_dict(), "count": torch.tensor(self.count)}

    def load_state_dict(self, saved):
        self.net.load_state_dict({name: value for name, value in saved.items() if name != "count"})
        self.count = int(saved["count"])


class Late(Stopped):
    """Holds something else once a task ended."""

    def end_task(self):
        self.rest = iter([1])
        super().end_task()


KEPT = (Pairs, Means, Buffered, Scheduled, Growing, Reservoir, Odd)
