from __future__ import annotations

import numpy as np
import pytest

from nlbench import seeds as draws

PURPOSES = ["order/1/0", "order/1/1", "permutation/1", "init/layer0.weight"]
PINNED_ORDER = [[3, 7, 5, 4, 2, 6, 1, 0]]
PINNED_INTEGERS = [794, 445, 681, 182]


@pytest.mark.parametrize(
    "draw",
    [
        lambda seeds: draws.permutation(seeds, "order/1/0", 50),
        lambda seeds: draws.normal(seeds, "init/w", (3, 4)),
        lambda seeds: draws.uniform(seeds, "init/w", (3, 4), 0.5),
    ],
    ids=["permutation", "normal", "uniform"],
)
def test_a_seed_draws_the_same_alone_as_among_ten_and_in_any_order(draw) -> None:
    among = draw(range(10))
    assert among.shape[0] == 10
    assert np.array_equal(draw([3])[0], among[3])
    assert np.array_equal(draw([7, 3]), among[[7, 3]])
    assert not any(np.array_equal(among[a], among[b]) for a in range(10) for b in range(a))


def test_purposes_are_independent_and_nothing_depends_on_what_was_drawn_before() -> None:
    first = [draws.generator(0, purpose).random(8) for purpose in PURPOSES]
    again = [draws.generator(0, purpose).random(8) for purpose in reversed(PURPOSES)][::-1]
    assert np.array_equal(first, again)
    assert len({values.tobytes() for values in first}) == len(PURPOSES)


def test_seed_and_purpose_cannot_be_confused() -> None:
    assert draws.generator(1, "1/order").random() != draws.generator(11, "/order").random()
    assert draws.generator(draws.FIXED, "x").random() != draws.generator(1, "x").random()


def test_values_are_pinned() -> None:
    """Published records rest on these draws: a change here is a new protocol version."""
    assert draws.permutation([0], "order/1/0", 8).tolist() == PINNED_ORDER
    assert draws.generator(3, "init/layer0.weight").integers(0, 1000, 4).tolist() == PINNED_INTEGERS


def test_shapes_types_and_ranges() -> None:
    uniform, normal = draws.uniform([0], "u", (200, 50), 0.25), draws.normal([0], "n", (200, 50))
    assert uniform.dtype == normal.dtype == np.float32
    assert uniform.min() < -0.24
    assert 0.24 < uniform.max() < 0.25
    assert abs(uniform.mean()) < 0.005
    assert abs(normal.mean()) < 0.04
    assert abs(normal.std() - 1) < 0.03
    assert sorted(draws.permutation([5], "p", 100)[0]) == list(range(100))
