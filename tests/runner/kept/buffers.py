"""What a learner of one's own may import from beside it."""

from __future__ import annotations


class Buffer:
    """The first `capacity` samples of each label."""

    def __init__(self, capacity):
        self.capacity = capacity
        self.held = {}

    def add(self, x, y):
        kept = self.held.setdefault(int(y), [])
        if len(kept) < self.capacity:
            kept.append(x.clone())

    def samples(self):
        return [(x, y) for y, kept in self.held.items() for x in kept]
