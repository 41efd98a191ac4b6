"""How likely a chunk is under each value of the memory: pure functions of its statistics.

A value v is a pair (context g, class c), known by the count n_v, the sum B_v of its keys, and what all values share: the variance
within them. A value written often is a sharp prediction of its keys, one never written a blunt one; what decides is by how much
the one beats the other.

Shapes: S seeds, B tokens of a chunk, D width of a key, G contexts, C classes.
Source: task inference by a Gaussian mixture with a tied diagonal covariance; the choice of a context or a new one is a Chinese
restaurant process's, taken greedily by chunks (Aldous 1985; Anderson 1991; for continual learning Heald et al. 2021).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

PRIOR_SAMPLES: Final = 16.0
"""Samples that the variance within values is shrunk by, towards the total one."""
FLOOR_SHARE: Final = 0.1
"""Of the mean variance, added to every feature's."""
LEAST_SPREAD: Final = 0.05
"""Of means around the grand mean, in units of the variance within."""
KNOWN: Final = 4.0
"""Samples from which a value counts as known: only such tokens may cast doubt."""
NEVER: Final = -1e9
"""The logarithm of what cannot be, where an infinity would not stay finite."""


class Spread(NamedTuple):
    """What values share: the grand mean (S, D), the precision 1 / σ² of each feature (S, D), and how far means of values lie
    around the grand mean, in units of σ² (S,).
    """

    mean: Tensor
    precision: Tensor
    of_means: Tensor


def freedom(counts: Tensor) -> Tensor:
    """Return the degrees of freedom (S,) that means of counts (S, G, C) leave."""
    return counts.sum((1, 2)) - (counts > 0).sum((1, 2))


def spread(squares: Tensor, sums: Tensor, counts: Tensor) -> Spread:
    """Return what values share, from Σ x² (S, D), the sums (S, G, C, D) and counts (S, G, C) of values.

    σ² is the variance within values, shrunk by 16 samples towards the total one, and a tenth of its mean. Cost: G C D a seed.
    """
    total = counts.sum((1, 2))[:, None]
    mean = sums.sum((1, 2)) / total
    around = (squares / total - mean.square()).clamp_min(0.0)
    explained = torch.einsum("sgcd,sgc->sd", sums.square(), counts.clamp_min(1e-9).reciprocal() * (counts > 0))
    within = (squares - explained).clamp_min(0.0) + PRIOR_SAMPLES * around
    variance = within / (freedom(counts)[:, None] + PRIOR_SAMPLES).clamp_min(1.0)
    precision = 1.0 / (variance + FLOOR_SHARE * variance.mean(1, keepdim=True) + 1e-9)
    return Spread(mean, precision, ((around * precision).mean(1) - 1.0).clamp_min(LEAST_SPREAD))


def dimension(scatter: Tensor, precision: Tensor, free: Tensor) -> Tensor:
    """Return the effective number of independent features (S,) of surprises, (tr R)² / (tr R² - (tr R)² / freedom), for their
    scatter (S, D, D), R = scatter / freedom in units of σ.
    """
    free, scale = free.clamp_min(1.0), precision.sqrt()
    each = [own / share * unit[:, None] * unit for own, share, unit in zip(scatter, free, scale, strict=True)]
    trace = torch.stack([own.trace() for own in each])
    squares = torch.stack([own.square().sum() for own in each]) - trace.square() / free
    width = scatter.shape[-1]
    return (trace.square() / torch.maximum(squares, trace.square() / width)).clamp(1.0, width)


def ratios(keys: Tensor, shared: Spread, dimensions: Tensor, sums: Tensor, counts: Tensor) -> Tensor:
    """Return the log likelihood ratio (S, B, G, C) of every value against a new one for keys (S, B, D); 0 where nothing was
    written.

    ½ D_e (d_new - d_v), with d_v = mean_j (x - μ_v)²_j / (σ²_j f_v) + log f_v, the mean of a value shrunk towards the grand one,
    μ_v = (B_v + r m) / (n_v + r), and f_v = 1 + 1 / (n_v + r); a new value has n = 0. Cost: B G C D multiply-adds a seed.
    """
    seeds, contexts, classes, width = sums.shape
    mean, precision, r = shared.mean, shared.precision / width, shared.of_means.reciprocal()
    flat, n = sums.flatten(1, 2), counts.flatten(1) + r[:, None]
    scaled = keys * precision[:, None]
    own = (scaled * keys).sum(2)
    on_mean, towards = (scaled @ mean[..., None])[..., 0], precision * mean
    squared_mean = (towards * mean).sum(1)
    lengths = (flat.square() @ precision[..., None])[..., 0] + 2 * r[:, None] * (flat @ towards[..., None])[..., 0]
    lengths = (lengths + (r.square() * squared_mean)[:, None]) / n.square()
    products = (scaled @ flat.mT + (r[:, None] * on_mean)[..., None]) / n[:, None]
    factor = 1.0 + n.reciprocal()
    known = (own[..., None] - 2 * products + lengths[:, None]) / factor[:, None] + factor.log()[:, None]
    blunt = 1.0 + shared.of_means
    new = (own - 2 * on_mean + squared_mean[:, None]) / blunt[:, None] + blunt.log()[:, None]
    found = 0.5 * dimensions[:, None, None] * (new[..., None] - known)
    return found.view(seeds, keys.shape[1], contexts, classes) * (counts > 0)[:, None]


def claims(found: Tensor, labels: Tensor, counts: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return how surely each context would have given the chunk other labels (S, G), and of how many tokens that is said (S,).

    found (S, B, G, C) are the ratios, labels (S, B) the chunk's, counts (S, G, C) those of values, chosen (S,) its context. Of
    tokens whose own value the chosen context knows: the mean of Σ_{c≠y} e^l_gc / (1 + Σ_c e^l_gc + Σ_c e^l_ac).
    """
    everyone, tokens = torch.arange(len(found), device=found.device), labels.shape[1]
    written = found.masked_fill(counts[:, None] == 0, NEVER)
    own = labels[:, :, None, None].expand(-1, -1, found.shape[2], 1)
    wrong = written.scatter(3, own, NEVER).logsumexp(3)
    of_context = written.logsumexp(3)
    of_chosen = of_context[everyone, :, chosen][..., None].expand_as(of_context)
    below = torch.stack([of_context, of_chosen, torch.zeros_like(of_context)]).logsumexp(0)
    known = (counts[everyone, chosen].gather(1, labels) >= KNOWN).to(found.dtype)
    number = known.sum(1)
    claimed = ((wrong - below).exp() * known[..., None]).sum(1) / number.clamp_min(1.0)[:, None]
    return claimed, number.clamp(max=tokens)
