"""TRGP and CUBER of one seed in float64 NumPy, as their papers have them: a basis and a matrix Q for each pair of tasks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy_mlp import TASKS, Array, Weights, answers, gradient, shown

LAYERS = ("layer0", "head")


@dataclass
class Scaled:
    """What is learned over the tasks; `aligned` None is TRGP."""

    weights: Weights
    rate: float
    thresholds: tuple[float, float]
    related: int
    sufficient: float
    aligned: float | None = None
    strength: float = 0.0
    bases: dict[str, list[Array]] = field(default_factory=lambda: {layer: [] for layer in LAYERS})
    pools: dict[str, Array] = field(default_factory=lambda: {"layer0": np.zeros((6, 0)), "head": np.zeros((7, 0))})
    scales: dict[int, dict[str, dict[int, Array]]] = field(default_factory=dict)
    past: dict[str, list[Array]] = field(default_factory=lambda: {layer: [] for layer in LAYERS})

    def whole(self, layer: str) -> Array:
        return np.hstack([self.weights[f"{layer}.weight"], self.weights[f"{layer}.bias"][:, None]])

    def factor(self, layer: str, task: int) -> Array:
        """Return what [W b] is multiplied by in a task."""
        total = np.eye(len(self.pools[layer]))
        for j, Q in self.scales.get(task, {}).get(layer, {}).items():
            B = self.bases[layer][j]
            total += B @ (Q - np.eye(len(Q))) @ B.T
        return total

    def effective(self, task: int) -> Weights:
        found = {}
        for layer in LAYERS:
            both = self.whole(layer) @ self.factor(layer, task)
            found |= {f"{layer}.weight": both[:, :-1], f"{layer}.bias": both[:, -1]}
        return found

    def slopes(self, task: int, x: Array, y: Array, classes: Array) -> Weights:
        """Return the gradients by the effective [W b] of each layer."""
        g = gradient(self.effective(task), x, y, classes)
        return {layer: np.hstack([g[f"{layer}.weight"], g[f"{layer}.bias"][:, None]]) for layer in LAYERS}

    def learn(self, seed: int) -> None:
        for task in range(1, TASKS + 1):
            start = {layer: self.whole(layer) for layer in LAYERS}
            related: dict[str, list[int]] = {}
            helped: dict[str, set[int]] = {}
            for number, (x, y, classes) in enumerate(shown(task, seed, told=True)):
                slopes = self.slopes(task, x, y, classes)
                moves = {}
                for layer, G in slopes.items():
                    g = G @ self.factor(layer, task).T
                    if number == 0:
                        related[layer] = self.nearest(layer, g)
                        self.scales.setdefault(task, {})[layer] = {
                            j: np.eye(self.bases[layer][j].shape[1]) for j in related[layer]
                        }
                        helped[layer] = set(related[layer]) if self.aligned is not None else set()
                    helped[layer] -= {j for j in helped[layer] if not self.agrees(self.past[layer][j], g)}
                    moves[layer] = self.move(layer, g, start[layer], helped[layer])
                    for j, Q in self.scales[task][layer].items():
                        B = self.bases[layer][j]
                        Q -= self.rate * B.T @ self.whole(layer).T @ G @ B
                for layer, move in moves.items():
                    both = self.whole(layer) - self.rate * move
                    self.weights |= {f"{layer}.weight": both[:, :-1], f"{layer}.bias": both[:, -1]}
            self.end(task, seed)

    def nearest(self, layer: str, g: Array) -> list[int]:
        lengths = {j: np.linalg.norm(g @ B @ B.T) for j, B in enumerate(self.bases[layer])}
        most = sorted(lengths, key=lambda j: -lengths[j])[: self.related]
        return [j for j in most if lengths[j] > self.sufficient * np.linalg.norm(g)]

    def agrees(self, past: Array, g: Array) -> bool:
        return (past * g).sum() >= self.aligned * np.linalg.norm(past) * np.linalg.norm(g)

    def move(self, layer: str, g: Array, start: Array, helped: set[int]) -> Array:
        others = [B for j, B in enumerate(self.bases[layer]) if j not in helped]
        shut = np.linalg.matrix_rank(np.hstack(others)) if others else 0
        for j in helped:
            B = self.bases[layer][j]
            way = (self.whole(layer) - start) @ B @ B.T
            if np.linalg.norm(way) > 0:
                g = g + self.strength * way / np.linalg.norm(way)
        if shut:
            axes = np.linalg.svd(np.hstack(others))[0][:, :shut]
            g = g - g @ axes @ axes.T
        return g

    def end(self, task: int, seed: int) -> None:
        batches = list(shown(task, seed, told=True))
        x, y = (np.concatenate([batch[part] for batch in batches]) for part in (0, 1))
        slopes = self.slopes(task, x, y, batches[-1][2])
        hidden = answers(self.effective(task), x)[0]
        for layer, inputs, threshold in zip(LAYERS, (x, hidden), self.thresholds, strict=True):
            self.past[layer].append(slopes[layer] @ self.factor(layer, task).T)
            R, known = np.hstack([inputs, np.ones((len(inputs), 1))]).T, self.pools[layer]
            u, sigma, _ = np.linalg.svd(R - known @ known.T @ R, full_matrices=False)
            pool, energies = np.hstack([known, u]), [*np.square(known.T @ R).sum(1), *np.square(sigma)]
            chosen: list[int] = []
            for i in np.argsort(energies)[::-1]:
                if sum(energies[c] for c in chosen) < threshold * np.square(R).sum():
                    chosen.append(i)
            self.bases[layer].append(pool[:, chosen])
            self.pools[layer] = np.hstack([known, pool[:, [c for c in sorted(chosen) if c >= known.shape[1]]]])
