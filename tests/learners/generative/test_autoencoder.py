from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_streams import CPU

from nlbench import Problem
from nlbench.learners.generative.autoencoder import Autoencoder


def problem(seeds: tuple[int, ...] = (0, 1)) -> Problem:
    return Problem((5,), 4, seeds, "class-il", CPU, "auto", 10)


@pytest.mark.parametrize("decoder", ["gaussian", "bernoulli"])
def test_its_loss_is_the_bound_of_the_equations_in_several_layers(decoder: Any) -> None:
    made = Autoencoder((6, 4), 2, 0.5, decoder)
    parameters = made.initial(problem())
    draw = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 3, 5, generator=draw), torch.randn(2, 3, 2, generator=draw)
    if decoder == "bernoulli":
        x = (x + 0.5).clamp(0, 1)  # noughts and ones among them
    losses = made.losses(parameters, x, noise)
    for s in range(2):
        w = {name.removeprefix("generator."): value[s].double().numpy() for name, value in parameters.items()}

        def through(part: str, h: np.ndarray, w: dict[str, np.ndarray] = w) -> np.ndarray:
            for i in range(3):
                h = h @ w[f"{part}{i}.weight"].T + w[f"{part}{i}.bias"]
                h = np.maximum(h, 0) if i < 2 else h
            return h

        code = through("encoder", x[s].double().numpy())
        means, deviations = code[:, :2], np.exp(code[:, 2:] / 2)
        again = through("decoder", means + deviations * noise[s].double().numpy())
        apart = (means**2 + deviations**2 - 1 - np.log(deviations**2)).sum(1) / 2
        seen = x[s].double().numpy()
        if decoder == "gaussian":
            error = np.square(seen - again).sum(1) / (2 * 0.5)
        else:
            bright = 1 / (1 + np.exp(-again))
            error = -(seen * np.log(bright) + (1 - seen) * np.log(1 - bright)).sum(1)
        np.testing.assert_allclose(losses[s], error + apart, rtol=1e-5)


def test_its_parts_mirror_each_other_and_a_seed_starts_as_among_others() -> None:
    made = Autoencoder((6, 4), 2, 0.5)
    many, alone = made.initial(problem()), made.initial(problem((1,)))
    sizes = {name.removeprefix("generator."): tuple(value.shape[1:]) for name, value in many.items() if value.ndim > 2}
    assert [sizes[f"encoder{i}.weight"] for i in range(3)] == [(6, 5), (4, 6), (4, 4)]
    assert [sizes[f"decoder{i}.weight"] for i in range(3)] == [(4, 2), (6, 4), (5, 6)]
    assert all(torch.equal(value[1:], alone[name]) for name, value in many.items())


def test_a_bernoulli_error_stays_finite_where_the_answer_is_certain() -> None:
    made = Autoencoder((4,), 2, 0.1, "bernoulli")
    parameters = made.initial(problem((0,)))
    parameters["generator.decoder1.bias"] += torch.tensor([-1e3, 1e3, -1e3, 1e3, 0.0])
    x = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.5]).expand(1, 2, 5)
    losses = made.losses(parameters, x, torch.zeros(1, 2, 2))
    assert losses.isfinite().all()
    assert (losses > 1900).all()  # two answers are wrong
