"""`hope` of one seed in plain float64 NumPy, written from docs/hope.md alone: all of it but the learned levels."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

from nlbench import seeds

Array = NDArray[np.float64]
CONTEXTS, RATE, DECAY, HAZARD, OPENING, WARM_UP, FLOOR = 64, 2.0, 0.93, 0.05, 10.0, 32, -276.0


class Keys:
    """Slow keys of small images, one layer of filters, of vectors, or of given features."""

    def __init__(self, seed: int, shape: tuple[int, ...], width: int | None = None, *, given: bool = False) -> None:
        def drawn(name: str, *own: int) -> Array:
            return seeds.normal((seed,), f"init/keys.{name}", own)[0].astype(float)

        self.image, self.groups, scale = len(shape) > 1, 4 if given else 1, np.prod(shape) ** (2 / 3)
        if self.image:
            self.side = next(k for k in (3, 4, 5) if (min(shape[-2:]) - k + 1) % 3 == 0)
            self.W = drawn("last", round(43 * scale / 9), 1, self.side, self.side).reshape(-1, self.side**2) / self.side
        else:
            ruled = min(max(round((100 if given else 75) * scale), 2000), 4000)
            width = width or (4 * (ruled // 2) if given else ruled)
            self.W, self.b = drawn("weight", width, shape[0]) / np.sqrt(shape[0]), drawn("bias", width) / 2

    def patches(self, images: Array) -> Array:
        """(images, rows, columns, numbers of a patch)"""
        windows = sliding_window_view(images.reshape(-1, *images.shape[-2:]), (self.side, self.side), (1, 2))
        return windows.reshape(*windows.shape[:3], -1)

    def fit(self, images: Array) -> None:
        C = np.cov(self.patches(images).reshape(-1, self.side**2).T, bias=True)
        values, vectors = np.linalg.eigh(C + 0.01 * np.diag(C).mean() * np.eye(len(C)))
        self.W = self.W @ (vectors * values**-0.5) @ vectors.T

    def __call__(self, inputs: Array) -> Array:
        if self.image:
            maps = np.maximum(self.patches(inputs) @ self.W.T, 0)
            rows, columns = np.array(maps.shape[1:3]) // 3
            h = maps.reshape(-1, 3, rows, 3, columns, len(self.W)).mean((2, 4)).transpose(0, 3, 1, 2).reshape(len(maps), -1)
        else:
            h = np.maximum(inputs @ self.W.T + self.b, 0)
        h = h.reshape(len(h), self.groups, -1)
        x = np.concatenate([h / np.sqrt((h**2).mean(2, keepdims=True) + 1e-24), np.ones((len(h), self.groups, 1))], 2)
        return x.reshape(len(h), -1)


def independent(R: Array, dof: float) -> float:
    """Of how many independent features surprises consist."""
    trace = np.trace(R) ** 2
    return float(np.clip(trace / max((R**2).sum() - trace / dof, trace / len(R)), 1, len(R)))


def ridge(G: Array, dof: float) -> float:
    D, trace, squares = len(G), np.trace(G), (G**2).sum()
    share = min(((1 - 2 / D) * squares + trace**2) / ((dof + 1 - 2 / D) * (squares - trace**2 / D)), 0.5)
    return float(max(2 * share / (1 - share) * trace / D, 0.1))


class OneSeed:
    """Gram A, sums B[g, c], counts n[g, c], belief b[g] and doubts psi[g] of the contexts there are."""

    def __init__(self, width: int, classes: int, groups: int = 1) -> None:
        self.groups = np.split(np.arange(width), groups)
        self.A, self.B, self.n = np.zeros((width, width)), np.zeros((0, classes, width)), np.zeros((0, classes))
        self.b, self.psi, self.samples, self.dimension, self.due = np.zeros(0), np.zeros(0), 0, 4.0, WARM_UP

    def surprises(self) -> tuple[Array, Array, float]:
        """S, the means of values and the degrees of freedom."""
        means = self.B / np.maximum(self.n, 1e-300)[..., None]
        return self.A - np.tensordot(means, self.B, ((0, 1), (0, 1))), means, self.n.sum() - (self.n > 0).sum()

    def ratios(self, x: Array) -> Array:
        """Log likelihood ratios (tokens, contexts, classes) of values to a new one; 0 where nothing was written."""
        S, _, dof = self.surprises()
        N, m, n = self.n.sum(), self.B.sum((0, 1)) / self.n.sum(), self.n[..., None]
        total = np.diag(self.A) / N - m**2
        within = (np.diag(S) + 16 * total) / max(dof + 16, 1)
        within += max(0.1 * within.mean(), 1e-5)
        if self.samples + len(x) >= self.due:
            self.due = self.samples + len(x) + max(64, (self.samples + len(x)) // 8)
            R = S / max(dof, 1) / np.sqrt(np.outer(within, within))
            self.dimension = float(np.mean([independent(R[np.ix_(own, own)], max(dof, 1)) for own in self.groups]))
        beta = max((total / within).mean() - 1, 0.05)
        centres, f = (self.B + m / beta) / (n + 1 / beta), 1 + 1 / (self.n + 1 / beta)
        known = ((x[:, None, None] - centres) ** 2 / within).mean(3) / f + np.log(f)
        new = ((x - m) ** 2 / within).mean(1) / (1 + beta) + np.log(1 + beta)
        return np.where(self.n > 0, self.dimension / 2 * (new[:, None, None] - known), 0)

    def open(self) -> int:
        self.B, self.n = (np.concatenate([own, np.zeros((1, *own.shape[1:]))]) for own in (self.B, self.n))
        self.b, self.psi = np.append(self.b, 0), np.append(self.psi, 0)
        return len(self.b) - 1

    def assign(self, x: Array, y: NDArray[np.int64]) -> tuple[int, Array, Array]:
        """The context, how likely it held each label, and that a token is of the label's value and of no new one."""
        nothing, t, used = np.zeros(len(y)), np.arange(len(y)), len(self.b)
        if used == 0:
            return self.open(), nothing, nothing
        found = self.ratios(x)
        evidence = found[t, :, y].sum(0) + np.log((1 - HAZARD) * self.b + HAZARD / (used + 1))
        a, enough = int(evidence.argmax()), self.n.sum() >= WARM_UP and self.n.sum() - (self.n > 0).sum() >= WARM_UP / 2
        if enough and used < CONTEXTS and np.log(HAZARD / (used + 1)) > evidence[a] + OPENING:
            return self.open(), nothing, nothing
        found = np.where(self.n > 0, found, -np.inf)
        self.doubt(found[self.n[a, y] >= 4], y[self.n[a, y] >= 4], a)
        return a, np.exp(found[t, a, y] - logsumexp(found[:, a], axis=1)), expit(found[t, a, y])

    def doubt(self, found: Array, y: NDArray[np.int64], a: int) -> None:
        if len(y):
            others = np.where(np.arange(self.n.shape[1]) == y[:, None], -np.inf, found.swapaxes(0, 1))
            own = np.logaddexp(0, logsumexp(found[:, a], axis=1))
            claims = np.exp(logsumexp(others, axis=2) - np.logaddexp(own, logsumexp(found, axis=2).T)).mean(1)
            self.psi = np.maximum(self.psi - 10 * len(y) * np.maximum(claims - 0.25, 0), FLOOR)
        self.psi[a] = 0

    def write(self, x: Array, y: NDArray[np.int64], a: int, w: Array) -> None:
        self.A += (x.T * w) @ x
        np.add.at(self.B[a], y, x * w[:, None])
        np.add.at(self.n[a], y, w)
        kept = DECAY ** len(y) if self.samples else 0
        self.b = kept * self.b + (1 - kept) * np.eye(len(self.b))[a]
        self.samples += len(y)

    def values(self, x: Array) -> Array:
        """What every value reads (tokens, contexts, classes); nothing where it was not written."""
        S, means, dof = self.surprises()
        M = np.zeros_like(means)
        for own in self.groups:
            G, mu = S[np.ix_(own, own)], means[..., own]
            solved = np.linalg.solve(G + ridge(G, max(dof, 1)) * np.eye(len(G)), mu.reshape(-1, len(G)).T).T
            M[..., own] = self.n.sum() / len(self.groups) * solved.reshape(mu.shape)
        prior = np.where(self.n > 0, self.psi[:, None], -np.inf)
        return np.tensordot(x, M, (1, 2)) - (means * M).sum(2) / 2 + prior - np.maximum(prior.max(0), FLOOR)

    def read(self, x: Array) -> Array:
        """What every class reads; far below all others where no context has seen it, and nothing before the first chunk."""
        return np.nan_to_num(self.values(x).max(1), neginf=-1e9) if self.samples else np.zeros((len(x), self.n.shape[1]))
