from __future__ import annotations

from hashlib import blake2b

import numpy as np
import torch
from small_streams import CPU

from nlbench.learners import draws

_MASK = 2**64 - 1


def splitmix(start: int, place: int) -> int:
    """The generator in Python's own integers."""
    z = (start + (place + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def test_known_numbers_of_the_generator_started_at_nought() -> None:
    """The first outputs of SplitMix64 for the seed 0, as its authors' programme prints them."""
    assert [splitmix(0, place) for place in range(2)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


def test_numbers_are_those_of_the_generator_at_the_hash_of_seed_and_purpose() -> None:
    counters = [0, 1, 5, 10**12]
    found = draws.numbers(draws.starts((3, -1), "buffer/kept", CPU), torch.tensor(counters))
    for row, seed in zip(found.tolist(), (3, -1), strict=True):
        start = int.from_bytes(blake2b(f"{seed}/buffer/kept".encode(), digest_size=8).digest(), "little")
        assert row == [splitmix(start, place) >> 25 for place in counters]


def test_numbers_are_uniform_and_seeds_and_purposes_do_not_agree() -> None:
    counters = torch.arange(40_000)
    rows = [draws.numbers(draws.starts((seed,), purpose, CPU), counters)[0] for seed in (0, 1) for purpose in ("a", "b")]
    unit = [row.double() / 2**draws.BITS for row in rows]
    for row in unit:
        counts = np.bincount((row * 50).long().numpy(), minlength=50)
        assert ((counts - 800) ** 2 / 800).sum() < 86  # chi-square of 49 degrees: once in a thousand
    shared = np.corrcoef(torch.stack([*unit, unit[0].roll(1)]).numpy()) - np.eye(5)
    assert abs(shared).max() < 0.02


def test_normal_numbers_are_normal_and_each_is_by_its_place_alone() -> None:
    starts = draws.starts((0, 1), "noise", torch.device("cpu"))
    many = draws.normals(starts, torch.arange(20000))
    assert torch.equal(many[:, 7:9], draws.normals(starts, torch.tensor([7, 8])))
    assert torch.isfinite(many).all()
    quantiles = torch.tensor([0.0228, 0.1587, 0.5, 0.8413, 0.9772])
    torch.testing.assert_close(many.quantile(quantiles, 1).mT, torch.tensor([[-2.0, -1, 0, 1, 2]] * 2), atol=0.06, rtol=0)
    assert many[:, 1:].mul(many[:, :-1]).mean(1).abs().max() < 0.03
    assert (many[0] * many[1]).mean().abs() < 0.03


def test_numbers_made_ahead_are_those_of_their_places_wherever_one_goes_on() -> None:
    starts = draws.starts((0, 1), "ahead", CPU)
    ahead = draws.Ahead(starts)
    for first, n in ((0, 3), (3, 5), (draws.AT_ONCE - 2, 4), (10**6, 1), (7, 2 * draws.AT_ONCE), (8, 1)):
        assert torch.equal(ahead.numbers(first, n), draws.numbers(starts, torch.arange(first, first + n)))
