from __future__ import annotations

import math

import pytest
import torch
from small_streams import CPU
from torch import Tensor

from nlbench import Problem
from nlbench.learners.projected.config import ProjectedConfig, SelfReference
from nlbench.learners.projected.self_reference import SelfReferences
from nlbench.specs import digest

S, B, D = 2, 5, 6
EVERYTHING = ("keys", "rates", "retentions")


def memories(*makes: str, forget: float = 0.4) -> SelfReferences:
    config = SelfReference.model_validate({"makes": makes or EVERYTHING, "forget": forget})
    made = SelfReferences(config, D, Problem((D,), 3, (0, 1), "class-il", CPU, "auto", 100))
    made.tensors = [tensor.double() for tensor in made.tensors]
    return made


def chunk(step: int) -> Tensor:
    return torch.randn(S, B, D, dtype=torch.float64, generator=torch.Generator().manual_seed(step))


def unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()


def sigmoid(value: Tensor) -> float:
    return 1.0 / (1.0 + math.exp(-float(value)))


def test_memories_write_themselves_as_the_equations_say() -> None:
    """Eq. 83-90 with 93's loss, token by token: everything is read where the chunk starts, only the decay acts on the way."""
    made, forget = memories(), 0.4
    initial = made.tensors[0].clone()
    written = torch.zeros_like(initial)
    for step in range(4):
        given = made.write(chunk(step))
        for s in range(S):
            at_start = initial[s] + written[s]
            key, value, rate, retain = (at_start[:D], at_start[D : 2 * D], at_start[2 * D], at_start[2 * D + 1])
            for t, x in enumerate(chunk(step)[s]):
                k, v = unit(x + key @ x), unit(x + value @ x)
                eta = sigmoid(rate @ x - 2.0)
                alpha = 1.0 - forget * (1.0 - sigmoid(retain @ x + 4.0))
                assert float(given.rates[s, t]) == pytest.approx(eta / sigmoid(torch.tensor(-2.0)), rel=1e-6)
                assert float(given.retained[s, t]) == pytest.approx(alpha, rel=1e-9)
                targets = [v + key @ v, v + value @ v, (rate @ v)[None], (retain @ v)[None]]
                answers = [k + key @ k, k + value @ k, (rate @ k)[None], (retain @ k)[None]]
                errors = torch.cat(
                    [target / max(1.0, float(target.norm())) - y for target, y in zip(targets, answers, strict=True)]
                )
                eye = torch.eye(D, dtype=torch.float64)
                written[s] = written[s] @ (alpha * eye - eta / B * torch.outer(k, k)) + eta / B * torch.outer(errors, k)
        torch.testing.assert_close(made.tensors[1], written, atol=1e-9, rtol=1e-7)
    assert torch.equal(made.tensors[0], initial)
    assert (written.norm(dim=(1, 2)) > 0.05).all()


def test_keys_come_from_the_memory_and_are_as_long_as_what_they_are_made_of() -> None:
    made = memories("keys")
    for step in range(3):
        made.write(chunk(step))
    slow = chunk(9)
    keys = made.keys(slow)
    torch.testing.assert_close(keys.norm(dim=-1), slow.norm(dim=-1))
    for s in range(S):
        memory = (made.tensors[0] + made.tensors[1])[s, :D]
        turned = slow[s] + slow[s] @ memory.T
        torch.testing.assert_close(keys[s] / keys[s].norm(dim=-1, keepdim=True), turned / turned.norm(dim=-1, keepdim=True))
        assert torch.equal(made.of_seed(s, slow[s]), keys[s])


@pytest.mark.parametrize("one", EVERYTHING)
def test_what_is_not_asked_for_changes_no_write(one: str) -> None:
    made, slow = memories(one), chunk(0)
    writes = made.write(slow)
    assert torch.equal(made.keys(slow), slow) == (one != "keys")
    assert torch.equal(writes.rates, torch.ones(S, B)) == (one != "rates")
    assert torch.equal(writes.retained, torch.ones(S, B)) == (one != "retentions")


def test_writes_stay_bounded_on_a_long_stream() -> None:
    made = memories(forget=0.001)
    for step in range(2000):
        made.write(chunk(step))
    assert (made.tensors[1].norm(dim=(1, 2)) < 10.0 * made.tensors[0].norm(dim=(1, 2))).all()


def test_a_recipe_without_self_reference_is_what_it_was_before_there_was_one() -> None:
    plain = ProjectedConfig.model_validate({"kind": "projected"})
    assert "self_reference" not in plain.model_dump(mode="json")
    on = ProjectedConfig.model_validate({"kind": "projected", "self_reference": {"makes": ["keys"]}})
    assert digest(on) != digest(plain)
    assert on.model_dump(mode="json")["self_reference"] == {"makes": ["keys"], "forget": 0.001}
