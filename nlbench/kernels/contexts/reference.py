"""How likely a chunk is under each value, and what follows from it, in plain torch.

A value written often is a sharp prediction of its keys, one never written a blunt one; what decides is by how much the one beats
the other.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor

from nlbench.kernels.contexts.values import Rules, Values

PRIOR_SAMPLES: Final = 16.0
"""Samples that the variance within values is shrunk by, towards the total one."""
FLOOR_SHARE: Final = 0.1
"""Of the mean variance, added to every feature's."""
LEAST_FLOOR: Final = 1e-5
"""What is added at least: keys that vary by less differ by float32's rounding."""
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

    σ² is the variance within values, shrunk by 16 samples towards the total one, and a tenth of its mean or 1e-5.
    Cost: G C D a seed.
    """
    total = counts.sum((1, 2))[:, None]
    mean = sums.sum((1, 2)) / total
    around = (squares / total - mean.square()).clamp_min(0.0)
    explained = torch.einsum("sgcd,sgc->sd", sums.square(), counts.clamp_min(1e-9).reciprocal() * (counts > 0))
    within = (squares - explained).clamp_min(0.0) + PRIOR_SAMPLES * around
    variance = within / (freedom(counts)[:, None] + PRIOR_SAMPLES).clamp_min(1.0)
    precision = 1.0 / (variance + (FLOOR_SHARE * variance.mean(1, keepdim=True)).clamp_min(LEAST_FLOOR))
    return Spread(mean, precision, ((around * precision).mean(1) - 1.0).clamp_min(LEAST_SPREAD))


def dimension(trace: Tensor, squares: Tensor, free: Tensor, width: int) -> Tensor:
    """Return the effective number of independent features (S,) of surprises, (tr R)² / (tr R² - (tr R)² / freedom), at least 1,
    as where nothing varies, and at most the width of a key, R = scatter / freedom in units of σ: of tr R and tr R² times the
    freedom and its square.
    """
    free = free.clamp_min(1.0)
    trace, squares = trace / free, squares / free.square()
    least = (trace.square() / width).clamp_min(torch.finfo(trace.dtype).tiny)
    return (trace.square() / torch.maximum(squares - trace.square() / free, least)).clamp(1.0, width)


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


def expectations(found: Tensor, labels: Tensor, counts: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return the share (S, B) of the label's likelihood in that of all labels that the chosen context (S,) knows, and in that of
    it and a new value; 0 where it does not know the label. Arguments as in `claims`.
    """
    everyone = torch.arange(len(found), device=found.device)
    own, known = found[everyone, :, chosen], counts[everyone, chosen] > 0
    shares = torch.stack([own.masked_fill(~known[:, None], NEVER).softmax(2), own.sigmoid()])
    of_labels = shares.gather(3, labels[None, ..., None].expand(2, -1, -1, 1))[..., 0] * known.gather(1, labels)
    return of_labels[0], of_labels[1]


def assign(values: Values, keys: Tensor, labels: Tensor, dimensions: Tensor, rules: Rules) -> tuple[Tensor, Tensor, Tensor]:
    """The fields of `Assigned`; arguments as in the package."""
    used, counts = values.used, values.counts
    shared = spread(values.squares, values.sums, counts)
    found = ratios(keys, shared, dimensions, values.sums, counts)
    contexts, own = found.shape[2], labels[:, :, None, None].expand(-1, -1, found.shape[2], 1)
    there = torch.arange(contexts, device=keys.device) < used[:, None]
    hazard = rules.hazard / (used + 1)
    prior = ((1.0 - rules.hazard) * values.belief + hazard[:, None] + 1e-30).log()
    evidence = (found.gather(3, own)[..., 0].sum(1) + prior).masked_fill(~there, -math.inf)
    best, chosen = evidence.max(1)
    room = (used < rules.contexts) & (counts.sum((1, 2)) >= rules.warm_up) & (freedom(counts) >= rules.warm_up / 2)
    opens = room & (hazard.log() > best + rules.opening)
    if rules.doubt > 0:
        claimed, number = claims(found, labels, counts, chosen)
        loss = rules.doubt * number[:, None] * (claimed - rules.tolerance).clamp_min(0.0)
        doubted = (values.doubts - loss).clamp_min(rules.least).scatter(1, chosen[:, None], 0.0)
        values.doubts.copy_(torch.where(opens[:, None], values.doubts, doubted))
    expected, plausible = (each * ~opens[:, None] for each in expectations(found, labels, counts, chosen))
    chosen = torch.where(opens, used, chosen)
    used += opens
    return chosen, expected, plausible


def write(values: Values, keys: Tensor, labels: Tensor, chosen: Tensor, weights: Tensor, kept: float) -> None:
    """The values and the belief, changed; arguments as in the package."""
    weighted = keys * weights[..., None]
    value = chosen[:, None] * values.counts.shape[2] + labels
    values.counts.flatten(1).scatter_add_(1, value, weights)
    values.sums.flatten(1, 2).scatter_add_(1, value[..., None].expand_as(weighted), weighted)
    values.squares += (weighted * keys).sum(1)
    share = torch.zeros_like(values.belief).scatter_(1, chosen[:, None], 1.0)
    values.belief.copy_(kept * values.belief + (1.0 - kept) * share)


def turn(store: Tensor, weights: Tensor, present: Tensor, used: Tensor, contexts: Tensor) -> None:
    """The weights of other contexts; arguments as in the package."""
    left, taken = (each[:, None, None, None].expand(-1, 1, *store.shape[2:]) for each in (present, contexts))
    store.scatter_(1, left, weights[:, None])
    weights.copy_(store.gather(1, taken)[:, 0])
    present.copy_(contexts)
    used.scatter_(1, contexts[:, None], True)
