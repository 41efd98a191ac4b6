"""An object that tests fill, what is saved of it, and that restored into others."""

from __future__ import annotations

from nlbench.state import collect, first_difference, obstacles, restore


class Holder:
    """An empty object that cases fill."""


def saved(value):
    return {name: tensor.clone() for name, tensor in collect(value).items()}


def holder(**attributes) -> Holder:
    made = Holder()
    vars(made).update(attributes)
    return made


def same_again(make):
    """Restore what `make` returns into another of its kind, and into an object that has nothing there; return both."""
    later, found = holder(held=make()), []
    assert not obstacles(later)
    state = saved(later)
    for fresh in (holder(held=make()), holder()):
        restore(fresh, state)
        assert first_difference(state, collect(fresh)) is None
        found.append(fresh.held)
    return found
