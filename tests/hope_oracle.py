"""The memory of one seed in plain float64 NumPy, equation by equation as docs/hope.md has them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Array = NDArray[np.float64]

RIDGE, CONTEXTS, PRIOR_SAMPLES, DECAY, HAZARD, OPENING, WARM_UP = 10.0, 64, 16.0, 0.93, 0.05, 10.0, 32
DOUBT, TOLERANCE, FLOOR, KNOWN = 10.0, 0.25, -276.0, 4


class OneSeed:
    """Gram A, sums B[g, c], counts n[g, c], belief b[g] and doubts psi[g]."""

    def __init__(self, width: int, classes: int) -> None:
        self.A, self.B, self.n = np.zeros((width, width)), np.zeros((CONTEXTS, classes, width)), np.zeros((CONTEXTS, classes))
        self.b, self.psi = np.zeros(CONTEXTS), np.zeros(CONTEXTS)
        self.used, self.samples, self.dimension, self.due = 0, 0, 4.0, WARM_UP

    def freedom(self) -> float:
        return float(self.n.sum() - (self.n > 0).sum())

    def scatter(self) -> Array:
        live = self.n > 0
        return self.A - (self.B[live] / self.n[live][:, None]).T @ self.B[live]

    def variances(self) -> tuple[Array, Array]:
        total = np.maximum(np.diag(self.A) / self.n.sum() - (self.B.sum((0, 1)) / self.n.sum()) ** 2, 0)
        within = np.maximum(np.diag(self.scatter()), 0)
        sigma = (within + PRIOR_SAMPLES * total) / max(self.freedom() + PRIOR_SAMPLES, 1)
        return sigma + 0.1 * sigma.mean() + 1e-9, total

    def measure(self) -> None:
        free, scale = max(self.freedom(), 1), self.variances()[0] ** -0.5
        R = self.scatter() / free * np.outer(scale, scale)
        squares = max((R**2).sum() - np.trace(R) ** 2 / free, np.trace(R) ** 2 / len(R))
        self.dimension = float(np.clip(np.trace(R) ** 2 / squares, 1, len(R)))

    def ratios(self, x: Array) -> Array:
        sigma, total = self.variances()
        mean, beta = self.B.sum((0, 1)) / self.n.sum(), max((total / sigma).mean() - 1, 0.05)
        r, found = 1 / beta, np.full((len(x), self.used, self.n.shape[1]), -np.inf)

        def distance(centre: Array, factor: float) -> Array:
            return np.asarray(((x - centre) ** 2 / sigma).mean(1) / factor + math.log(factor))

        for g, c in np.argwhere(self.n[: self.used] > 0):
            n = self.n[g, c]
            known = distance((self.B[g, c] + r * mean) / (n + r), 1 + 1 / (n + r))
            found[:, g, c] = 0.5 * self.dimension * (distance(mean, 1 + beta) - known)
        return found

    def assign(self, x: Array, y: NDArray[np.int64]) -> int:
        if self.used == 0:
            self.used = 1
            return 0
        now = self.samples + len(y)
        if now >= self.due:
            self.measure()
            self.due = now + max(64, now // 8)
        found = self.ratios(x)
        own = found[np.arange(len(y)), :, y]
        prior = (1 - HAZARD) * self.b[: self.used] + HAZARD / (self.used + 1)
        evidence = np.where(np.isinf(own), 0.0, own).sum(0) + np.log(prior + 1e-30)
        best = int(evidence.argmax())
        room = self.used < CONTEXTS and self.n.sum() >= WARM_UP and self.freedom() >= WARM_UP / 2
        if room and math.log(HAZARD / (self.used + 1)) > evidence[best] + OPENING:
            self.used += 1
            return self.used - 1
        self.doubt(found, y, best)
        return best

    def doubt(self, found: Array, y: NDArray[np.int64], chosen: int) -> None:
        known = np.flatnonzero(self.n[chosen][y] >= KNOWN)
        for g in range(self.used):
            claimed = []
            for t in known:
                wrong = np.delete(found[t, g], y[t])
                below = logsumexp([*found[t, g], *found[t, chosen], 0.0])
                claimed.append(math.exp(logsumexp(wrong) - below))
            if claimed:
                loss = DOUBT * len(known) * max(float(np.mean(claimed)) - TOLERANCE, 0)
                self.psi[g] = max(self.psi[g] - loss, FLOOR)
        self.psi[chosen] = 0

    def write(self, x: Array, y: NDArray[np.int64], chosen: int, w: Array) -> None:
        for key, label, weight in zip(x, y, w, strict=True):
            self.A += weight * np.outer(key, key)
            self.B[chosen, label] += weight * key
            self.n[chosen, label] += weight
        share, kept = np.eye(CONTEXTS)[chosen], DECAY ** len(y) if self.samples else 0.0
        self.b = kept * self.b + (1 - kept) * share
        self.samples += len(y)

    def read(self, x: Array) -> Array:
        """What every class reads; far below all others where no context knows it."""
        inverse, classes = np.linalg.inv(self.scatter() + RIDGE * np.eye(len(self.A))), self.n.shape[1]
        found = np.full((len(x), self.used, classes), -1e9)
        for g, c in np.argwhere(self.n[: self.used] > 0):
            mean = self.B[g, c] / self.n[g, c]
            M = self.n.sum() * inverse @ mean
            knows = self.n[: self.used, c] > 0
            found[:, g, c] = x @ M - 0.5 * mean @ M + self.psi[g] - self.psi[: self.used][knows].max()
        return np.asarray(found.max(1))
