from __future__ import annotations

import torch
from small_analytic import SEEDS, C, N, held_back, observe, tasks
from small_streams import CPU
from torch import nn

from nlbench import Problem, catalog
from nlbench.learners.analytic.config import PecConfig
from nlbench.learners.analytic.pec import Pec

WIDTH, TEACHER, OUTPUTS, RATE = 3, 8, 4, 0.05


def made(seeds: tuple[int, ...] = SEEDS) -> Pec:
    config = PecConfig(kind="pec", width=WIDTH, teacher_width=TEACHER, outputs=OUTPUTS, rate=RATE)
    return Pec(config, Problem((N,), C, seeds, "class-il", CPU, "auto", 9))


def module(width: int, tree: dict[str, torch.Tensor]) -> nn.Module:
    net = nn.Sequential(nn.Linear(N, width), nn.LayerNorm(width), nn.GELU(), nn.Linear(width, OUTPUTS)).double()
    names = {"0.weight": "0.weight", "0.bias": "0.bias", "1.weight": "norm.weight", "1.bias": "norm.bias"}
    names |= {"3.weight": "1.weight", "3.bias": "1.bias"}
    net.load_state_dict({own: tree[name].detach().double() for own, name in names.items()})
    return net


def test_every_class_has_a_network_and_an_adam_of_its_own_that_sees_its_samples_alone() -> None:
    learner, shown = made(), tasks()
    students = []
    for s in range(len(SEEDS)):
        start = {name: value[s] for name, value in learner.students.items()}
        assert all(torch.equal(value[0], value[c]) for value in start.values() for c in range(C))
        teacher = module(TEACHER, {name: value[s] for name, value in learner.teacher.items()})
        own = [module(WIDTH, {name: value[c] for name, value in start.items()}) for c in range(C)]
        adams = [torch.optim.Adam(net.parameters(), lr=RATE) for net in own]
        for task in shown:
            for batch in task:
                x, y = batch.inputs[s].double(), batch.labels[s]
                for c in y.unique():
                    error = (own[c](x[y == c]) - teacher(x[y == c]).detach()).square().mean()
                    adams[c].zero_grad()
                    error.backward()
                    adams[c].step()
        students.append((teacher, own))
    observe(learner, shown)
    logits = learner.predict(held_back(), None)
    for s, (teacher, own) in enumerate(students):
        x = held_back()[s].double()
        wanted = torch.stack([-(net(x) - teacher(x)).square().mean(1) for net in own], 1).float()
        torch.testing.assert_close(logits[s], wanted, rtol=1e-3, atol=1e-4)


def test_the_loss_is_the_mean_error_of_each_samples_own_student_before_the_step() -> None:
    learner, batch = made(), tasks()[0][0]
    errors = learner.errors(batch.inputs).detach()
    wanted = errors.gather(1, batch.labels[:, None]).mean((1, 2))
    torch.testing.assert_close(learner.observe(batch), wanted)


def test_no_class_changes_another_s_network() -> None:
    learner, shown = made(), tasks()
    observe(learner, shown[:1])
    before = {name: value.detach().clone() for name, value in learner.students.items()}
    observe(learner, shown[1:])
    assert all(torch.equal(value[:, :2], before[name][:, :2]) for name, value in learner.students.items())
    assert all(not torch.equal(value[:, 2:], before[name][:, 2:]) for name, value in learner.students.items())


def test_seed_3_alone_equals_itself_among_others_and_it_resumes_bit_equal() -> None:
    many, alone, other, shown = made(), made((3,)), made(), tasks()
    observe(many, [shown[0], shown[1][:1]])
    other.load_state_dict({name: value.clone() for name, value in many.state_dict().items()})
    for resumed in (many, other):
        observe(resumed, [shown[1][1:], shown[2]])
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in many.state_dict().items())
    observe(alone, tasks((3,)))
    torch.testing.assert_close(alone.predict(held_back((3,)), None), many.predict(held_back(), None)[2:], rtol=1e-3, atol=1e-4)
    assert alone.memory_bytes() == many.memory_bytes()


def test_the_published_sizes_are_the_defaults_and_bytes_are_what_the_docstring_says() -> None:
    config = PecConfig(kind="pec")
    assert (config.width, config.teacher_width, config.outputs, config.rate) == (10, 5000, 99, 0.01)
    student, teacher = (N * h + h * OUTPUTS + 3 * h + OUTPUTS for h in (WIDTH, TEACHER))
    assert made().memory_bytes() == {"parameters": 4 * (C * student + teacher), "optimizer": 8 * C * student + 4 * C}
    assert catalog.needs("pec") == ()
