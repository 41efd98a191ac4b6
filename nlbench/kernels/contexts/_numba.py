"""Contexts on CPU cores: one program a seed, which goes over the values that there are and no others."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nlbench.kernels.contexts.reference import FLOOR_SHARE, KNOWN, LEAST_FLOOR, LEAST_SPREAD, PRIOR_SAMPLES
from nlbench.kernels.contexts.reference import turn as turn
from nlbench.kernels.contexts.values import Rules, Values
from nlbench.kernels.elementary import exp
from nlbench.kernels.programs import Program, array
from nlbench.kernels.tiles import dot, gemm, kernel, transpose


@kernel(fastmath={"reassoc", "contract"})
def spread(squares, sums, counts, mean, precision, of_means):  # type: ignore[no-untyped-def]
    """What values (V, D) share: the grand mean (D,), the precision (D,) and, in of_means[0], how far means of values lie apart;
    of_means[1:] become the number of samples and that of values written.
    """
    width, kind = len(squares), squares.dtype.type
    explained, around = np.zeros_like(squares), np.empty_like(squares)
    total, live, floor, apart = kind(0), kind(0), kind(0), kind(0)
    mean[:] = 0
    for v in range(len(sums)):
        if counts[v] > 0:
            total += counts[v]
            live += 1
            share = 1 / counts[v]
            for d in range(width):
                mean[d] += sums[v, d]
                explained[d] += sums[v, d] * sums[v, d] * share
    freedom = max(total - live + kind(PRIOR_SAMPLES), kind(1))
    for d in range(width):
        mean[d] /= total
        around[d] = max(squares[d] / total - mean[d] * mean[d], kind(0))
        precision[d] = (max(squares[d] - explained[d], kind(0)) + kind(PRIOR_SAMPLES) * around[d]) / freedom
        floor += precision[d]
    floor = max(kind(FLOOR_SHARE) * floor / width, kind(LEAST_FLOOR))
    for d in range(width):
        precision[d] = 1 / (precision[d] + floor)
        apart += around[d] * precision[d]
    of_means[0], of_means[1], of_means[2] = max(apart / width - 1, kind(LEAST_SPREAD)), total, live


@kernel(fastmath={"reassoc", "contract"})
def ratios(keys, sums, counts, mean, precision, of_means, dimension, found):  # type: ignore[no-untyped-def]
    """The log likelihood ratios (V, B) of values against a new one; 0 where nothing was written. precision is divided by D."""
    (tokens, width), values, kind = keys.shape, len(sums), keys.dtype.type
    scaled, towards = np.empty_like(keys), np.empty_like(mean)
    r, squared_mean = 1 / of_means, kind(0)
    for d in range(width):
        precision[d] /= width
        towards[d] = precision[d] * mean[d]
        squared_mean += towards[d] * mean[d]
    own, new = np.empty(tokens, keys.dtype), np.empty(tokens, keys.dtype)
    on_mean = np.empty(tokens, keys.dtype)
    for t in range(tokens):
        for d in range(width):
            scaled[t, d] = keys[t, d] * precision[d]
        own[t], on_mean[t] = dot(scaled[t], keys[t]), dot(scaled[t], mean)
        new[t] = (own[t] - 2 * on_mean[t] + squared_mean) / (1 + of_means) + math.log(1 + of_means)
    upright = np.empty((width, tokens), keys.dtype)
    transpose(scaled, upright)
    gemm(1.0, sums, upright, 0.0, found)
    for v in range(values):
        if counts[v] > 0:
            length, n = kind(0), counts[v] + r
            for d in range(width):
                length += sums[v, d] * (sums[v, d] * precision[d] + 2 * r * towards[d])
            length = (length + r * r * squared_mean) / (n * n)
            factor = 1 + 1 / n
            blunt = math.log(factor)
            for t in range(tokens):
                product = (found[v, t] + r * on_mean[t]) / n
                known = (own[t] - 2 * product + length) / factor + blunt
                found[v, t] = kind(0.5) * dimension * (new[t] - known)
        else:
            for t in range(tokens):
                found[v, t] = 0


@kernel()
def claims(found, counts, labels, classes, chosen, claimed):  # type: ignore[no-untyped-def]
    """How surely each context would have given the chunk other labels, claimed (contexts + 1,), and in its last place of how many
    tokens that is said.
    """
    contexts, kind = len(claimed) - 1, found.dtype.type
    claimed[:] = 0
    for t in range(len(labels)):
        if counts[chosen * classes + labels[t]] >= KNOWN:
            claimed[contexts] += 1
            top = kind(0)
            for v in range(contexts * classes):
                if counts[v] > 0:
                    top = max(top, found[v, t])
            of_chosen = exp(-top)
            for v in range(chosen * classes, (chosen + 1) * classes):
                if counts[v] > 0:
                    of_chosen += exp(found[v, t] - top)
            for g in range(contexts):
                wrong, whole = kind(0), of_chosen
                for v in range(g * classes, (g + 1) * classes):
                    if counts[v] > 0:
                        likely = exp(found[v, t] - top)
                        whole += likely
                        if v != g * classes + labels[t]:
                            wrong += likely
                claimed[g] += wrong / whole
    for g in range(contexts):
        claimed[g] /= max(claimed[contexts], kind(1))


@kernel()
def expectations(found, counts, labels, expected, plausible):  # type: ignore[no-untyped-def]
    """The share of the label's likelihood in that of all labels that one context knows, and in that of it and a new value."""
    for t in range(len(labels)):
        top, whole = found.dtype.type(-np.inf), found.dtype.type(0)
        for c in range(len(counts)):
            if counts[c] > 0:
                top = max(top, found[c, t])
        for c in range(len(counts)):
            if counts[c] > 0:
                whole += exp(found[c, t] - top)
        own, known = found[labels[t], t], counts[labels[t]] > 0
        expected[t] = exp(own - top) / whole if known else 0
        plausible[t] = 1 / (1 + exp(-own)) if known else 0


@Program
def choice(p, squares, sums, counts, belief, doubts, used, keys, labels, dimensions, rules, chosen, expected, plausible):  # type: ignore[no-untyped-def]
    """One seed's choice, what it expected, and what contexts are doubted by; rules in the order of `Rules`."""
    classes, contexts, (tokens, width) = counts.shape[2], used[p], keys.shape[1:]
    kind, values = keys.dtype.type, used[p] * counts.shape[2]
    flat, n = sums[p].reshape(-1, width)[:values], counts[p].reshape(-1)[:values]
    mean, precision, shared = np.empty(width, keys.dtype), np.empty(width, keys.dtype), np.empty(3, keys.dtype)
    found = np.empty((values, tokens), keys.dtype)
    spread(squares[p], flat, n, mean, precision, shared)
    ratios(keys[p], flat, n, mean, precision, shared[0], dimensions[p], found)
    most, opening, hazard, warm_up, doubt, tolerance, least = rules
    of_new, best, likeliest = hazard / (contexts + 1), -np.inf, 0
    for g in range(contexts):
        evidence = math.log((1 - hazard) * belief[p, g] + of_new + 1e-30)
        for t in range(tokens):
            evidence += found[g * classes + labels[p, t], t]
        if evidence > best:
            best, likeliest = evidence, g
    room = contexts < most and shared[1] >= warm_up and shared[1] - shared[2] >= warm_up / 2
    if room and math.log(of_new) > best + opening:
        chosen[p] = contexts
        used[p] += 1
        expected[p], plausible[p] = 0, 0
        return
    chosen[p] = likeliest
    own = slice(likeliest * classes, (likeliest + 1) * classes)
    expectations(found[own], n[own], labels[p], expected[p], plausible[p])
    if doubt > 0:
        claimed = np.empty(contexts + 1, keys.dtype)
        claims(found, n, labels[p], classes, likeliest, claimed)
        for g in range(contexts):
            doubts[p, g] = max(
                doubts[p, g] - kind(doubt) * claimed[contexts] * max(claimed[g] - kind(tolerance), kind(0)), kind(least)
            )
        doubts[p, likeliest] = 0


@Program
def entry(p, squares, sums, counts, belief, keys, labels, chosen, weights, kept):  # type: ignore[no-untyped-def]
    """One seed's chunk, written."""
    own, squared = chosen[p], np.zeros(keys.shape[2], keys.dtype)
    for t in range(keys.shape[1]):
        weight, row = weights[p, t], sums[p, own, labels[p, t]]
        counts[p, own, labels[p, t]] += weight
        for d in range(keys.shape[2]):
            row[d] += weight * keys[p, t, d]
            squared[d] += weight * keys[p, t, d] * keys[p, t, d]
    for d in range(keys.shape[2]):
        squares[p, d] += squared[d]
    for g in range(belief.shape[1]):
        belief[p, g] *= kept
    belief[p, own] += 1 - kept


def assign(values: Values, keys: Tensor, labels: Tensor, dimensions: Tensor, rules: Rules) -> tuple[Tensor, Tensor, Tensor]:
    """The fields of `Assigned`; arguments as in the package."""
    X, found = array(keys), (torch.empty_like(values.used), keys.new_empty(labels.shape), keys.new_empty(labels.shape))
    numbers = (rules.contexts, rules.opening, rules.hazard, rules.warm_up, rules.doubt, rules.tolerance, rules.least)
    state = [array(each) for each in values.tensors()]
    work = X.size * values.counts[0].numel()
    told = X, array(labels), array(dimensions), np.array(numbers, np.float64)
    choice(len(X), *state, *told, *map(array, found), work=work)
    return found


def write(values: Values, keys: Tensor, labels: Tensor, chosen: Tensor, weights: Tensor, kept: float) -> None:
    """The values and the belief, changed; arguments as in the package."""
    state = [array(each) for each in values.tensors()[:4]]
    X = array(keys)
    entry(len(X), *state, X, array(labels), array(chosen), array(weights), X.dtype.type(kept), work=2 * X.size)
