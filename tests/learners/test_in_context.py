from __future__ import annotations

import torch
from small_streams import CPU

from nlbench import Batch, Problem
from nlbench.learners.config import InContextConfig
from nlbench.learners.in_context import InContext

CLASSES = torch.ones(3, dtype=torch.bool)


def learner(window: int = 4, sharpness: float = 5.0, seeds: tuple[int, ...] = (0, 1)) -> InContext:
    config = InContextConfig(kind="in-context", window=window, sharpness=sharpness)
    return InContext(config, Problem((2, 2), 3, seeds, "class-il", CPU, "auto", 10))


def batch(n: int, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(2, n, 2, 2, generator=draw), torch.randint(3, (2, n), generator=draw), CLASSES, None)


def test_it_answers_by_attention_to_the_samples_in_sight() -> None:
    made, seen, asked = learner(), batch(3), batch(2, seed=1).inputs
    made.observe(seen)
    got = made.predict(asked, None).exp()
    for seed in range(2):
        for sample in range(2):
            x = asked[seed, sample].flatten()
            weights = [torch.exp(5.0 * torch.cosine_similarity(x, known.flatten(), dim=0)) for known in seen.inputs[seed]]
            expected = torch.zeros(3)
            for weight, label in zip(weights, seen.labels[seed].tolist(), strict=True):
                expected[label] += weight / sum(weights)
            torch.testing.assert_close(got[seed, sample], expected)


def test_what_leaves_the_window_is_forgotten_and_the_window_is_all_it_stores() -> None:
    made = learner(window=4)
    for seed in range(3):
        made.observe(batch(3, seed))
    assert torch.equal(made.window.labels, torch.cat([batch(3, 1).labels[:, 2:], batch(3, 2).labels], 1))
    assert made.memory_bytes() == {"parameters": 0, "samples": 4 * (4 * 4 + 8)}
    full = learner(window=99)
    full.observe(batch(3))
    assert made.predict(batch(1).inputs, None).shape == (2, 1, 3)


def test_the_loss_is_that_before_the_batch_came_into_sight() -> None:
    made = learner()
    assert torch.allclose(made.observe(batch(3)), torch.full((2,), 3.0).log())
    asked = batch(2, seed=1)
    expected = -made.predict(asked.inputs, None).gather(-1, asked.labels[..., None]).mean((1, 2))
    torch.testing.assert_close(made.observe(asked), expected)
