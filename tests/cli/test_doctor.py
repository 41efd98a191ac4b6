"""What `nlbench doctor` says of learners, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Command

HOARDER = """
import torch
import nlbench


class Hoarder(nlbench.Learner):
    def __init__(self, config, problem):
        self.bias, self.seen = torch.zeros(len(problem.seeds), 1, problem.n_classes), []

    def observe(self, batch):
        self.seen.append(batch.inputs)
        return torch.zeros(len(self.bias))

    def predict(self, inputs, task):
        return self.bias.expand(-1, inputs.shape[1], -1)
"""


def test_doctor_ends_with_0_where_every_rule_is_kept(command: Command) -> None:
    done = command("doctor", "chance", "--shape", "1,4,4")
    assert done.code == 0
    assert "every rule is kept" in done.out
    assert "exempt" in done.out


def test_doctor_ends_with_1_and_says_what_to_mend(command: Command) -> None:
    Path("mine.py").write_text(HOARDER)
    done = command("doctor", "./mine.py:Hoarder", "--shape", "1,4,4")
    assert done.code == 1
    assert "stored samples" in done.out
    assert "mend: Keep samples in a buffer" in done.out
    facts = json.loads(command("doctor", "./mine.py:Hoarder", "--shape", "1,4,4", "--format", "json").out)
    assert not facts["passed"]
    assert [each["check"] for each in facts["findings"] if each["verdict"] == "broken"] == ["stored samples"]


def test_doctor_ends_with_2_where_there_is_no_learner(command: Command) -> None:
    done = command("doctor", "chance", "mpl", "--shape", "1,4,4")
    assert (done.code, "every rule is kept" in done.out, "unknown model 'mpl'" in done.err) == (2, True, True)
    done = command("doctor", "mpl")
    assert (done.code, done.out, "unknown model 'mpl'" in done.err) == (2, "", True)
    done = command("doctor", "mlp", "--shape", "3x32")
    assert done.code == 2
    assert "--shape must be whole numbers" in done.err
    done = command("doctor", "mlp", "--set", "stream.tasks=2")
    assert done.code == 2
    assert "--set stream.tasks: must be left out: a learner is examined on small streams that are made for it" in done.err
