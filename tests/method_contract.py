"""What every method by gradients keeps: a seed alone is as it is among others, and it resumes bit-equal within a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy_mlp import SEEDS, batches, learned

from nlbench.state import STRUCTURE


def state_of(made: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in made.state_dict().items()}


def a_seed_alone_is_as_among_others(make: Callable[..., Any], *, told: bool = False) -> None:
    many, alone = learned(make(), told=told), make(seeds=SEEDS[1:2])
    learned(alone, seeds=slice(1, 2), told=told)
    x = next(iter(batches(1))).inputs
    task = 1 if told else None
    torch.testing.assert_close(alone.predict(x[1:2], task), many.predict(x, task)[1:2], rtol=1e-3, atol=1e-4)
    assert alone.memory_bytes() == many.memory_bytes()


def it_resumes_bit_equal_within_a_task(make: Callable[..., Any], *, told: bool = False) -> None:
    made = learned(make(), tasks=(1, 2), told=told)
    third = list(batches(3, told=told))
    with torch.no_grad():
        for batch in third[:3]:
            made.observe(batch)
        other = make()
        other.load_state_dict(state_of(made))
        for each in (made, other):
            for batch in third[3:]:
                each.observe(batch)
            each.end_task()
            each.observe(third[0])
    one, two = made.state_dict(), other.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one if name != STRUCTURE)


def nothing_is_as_naive(make: Callable[..., Any], naive: Callable[..., Any], *, told: bool = False) -> None:
    """The method that does nothing is plain fine-tuning, bit for bit."""
    one, other = (learned(each(), told=told) for each in (make, naive))
    assert all(torch.equal(value, one.parameters[name]) for name, value in other.parameters.items())
