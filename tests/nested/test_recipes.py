"""Every command of docs/seeds.md that runs a recipe: resolved as it stands, then made small and run for a few batches."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from small_streams import CPU, _smaller

from nlbench import Batch, Problem
from nlbench.learners.building import build
from nlbench.plan import resolve

PAGE = Path(__file__).parents[2] / "docs" / "seeds.md"
COMMANDS = re.findall(r"^\| ([^|]+?) \| `nlbench run ([^`]+)` \|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def resolved(command: str):
    """The plan that a command line of `nlbench run` makes, and its overrides."""
    words = shlex.split(command)
    options = list(zip(words[::2], words[1::2], strict=True))
    assert {option for option, _ in options} <= {"--model", "--stream", "--set"}
    told, overrides = dict(options), dict(value.split("=", 1) for option, value in options if option == "--set")
    return resolve(told["--model"], told["--stream"], seeds=(0,), overrides=overrides), told, overrides


@pytest.mark.parametrize(("what", "command"), COMMANDS, ids=[what for what, _ in COMMANDS])
def test_a_command_of_the_page_learns(what: str, command: str) -> None:
    plan, told, overrides = resolved(command)
    small = {key: value for key, value in _smaller(plan.learner.learner).items() if key not in overrides}
    config = resolve(told["--model"], told["--stream"], seeds=(0,), overrides={**overrides, **small}).learner.learner
    learner = build(config, Problem((1, 8, 8), 4, (0, 1), "class-il", CPU, "auto", 64, sample="image"))
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(12).remainder(4).repeat(2, 1)
    inputs = 0.3 * torch.randn(2, 12, 1, 8, 8, generator=draw)
    inputs[..., 0, :4] += 3.0 * torch.nn.functional.one_hot(labels, 4)[..., None, :]
    classes = torch.ones(4, dtype=torch.bool)
    with torch.no_grad():
        losses = [learner.observe(Batch(inputs, labels, classes, None)) for _ in range(18)]
        logits = learner.predict(inputs, None)
    assert logits.isfinite().all()
    assert (losses[-1] < losses[0]).all()


def test_overrides_of_the_page_change_the_learner_they_are_set_on() -> None:
    for what, command in COMMANDS:
        plan, told, overrides = resolved(command)
        if overrides:
            assert plan.learner.learner != resolve(told["--model"], told["--stream"], seeds=(0,)).learner.learner, what
