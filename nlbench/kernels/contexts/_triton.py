"""Contexts on a GPU: four small kernels a chunk, of which none waits for the host.

Tokens of a chunk, classes and coordinates are taken in blocks, so that any number of them does.
"""

from __future__ import annotations

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from nlbench.kernels.contexts import reference
from nlbench.kernels.contexts.values import Rules, Values
from nlbench.kernels.gpu_tiles import empty, padded

FLOOR_SHARE: Final = tl.constexpr(reference.FLOOR_SHARE)
LEAST_FLOOR: Final = tl.constexpr(reference.LEAST_FLOOR)
KNOWN: Final = tl.constexpr(reference.KNOWN)
LEAST_SPREAD: Final = tl.constexpr(reference.LEAST_SPREAD)
NEVER: Final = tl.constexpr(reference.NEVER)
PRIOR_SAMPLES: Final = tl.constexpr(reference.PRIOR_SAMPLES)

TOKENS: Final = 64
"""Tokens of a chunk in a block, at most."""
FEW: Final = 16
"""Tokens in a block of what depends on every coordinate: few programs of many tokens left most of a GPU idle."""
CLASSES: Final = 16
"""Classes in a block."""
COORDINATES: Final = 64
"""Coordinates in a block of a product."""
NARROW: Final = 32
"""Coordinates in a block of what is written, for the same reason."""
WIDE: Final = 1024
"""Coordinates in a block of a sum."""


@triton.jit(do_not_specialize=("G", "C", "D"))
def spread(squares, sums, counts, used, mean, around, variance, G, C, D, ROWS: tl.constexpr, BD: tl.constexpr):
    """BD coordinates' grand mean, variance around it, and variance within values, without its floor."""
    seed, d = tl.program_id(1).to(tl.int64), tl.program_id(0) * BD + tl.arange(0, BD)
    total, explained = tl.zeros((BD,), tl.float32), tl.zeros((BD,), tl.float32)
    count, live = 0.0, 0.0
    rows = tl.load(used + seed).to(tl.int32) * C
    for start in range(0, rows, ROWS):
        row = start + tl.arange(0, ROWS)
        n = tl.load(counts + seed * G * C + row, mask=row < rows, other=0.0)
        place = sums + (seed * G * C + row[:, None]) * D + d[None, :]
        own = tl.load(place, mask=(row < rows)[:, None] & (d < D)[None, :], other=0.0)
        total += tl.sum(own, 0)
        explained += tl.sum(own * own * tl.where(n > 0, 1.0 / tl.maximum(n, 1e-9), 0.0)[:, None], 0)
        count += tl.sum(n, 0)
        live += tl.sum((n > 0).to(tl.float32), 0)
    squared = tl.load(squares + seed * D + d, mask=d < D, other=0.0)
    centre = total / count
    apart = tl.maximum(squared / count - centre * centre, 0.0)
    within = tl.maximum(squared - explained, 0.0) + PRIOR_SAMPLES * apart
    tl.store(mean + seed * D + d, centre, mask=d < D)
    tl.store(around + seed * D + d, apart, mask=d < D)
    tl.store(variance + seed * D + d, within / tl.maximum(count - live + PRIOR_SAMPLES, 1.0), mask=d < D)


@triton.jit(do_not_specialize=("B", "C", "D", "key_line", "key_apart", "label_apart"))
def likelihoods(
    keys,
    labels,
    sums,
    counts,
    used,
    dimensions,
    mean,
    around,
    variance,
    own_ratios,
    wrong_ratios,
    all_ratios,
    B,
    G,
    C,
    D,
    key_line,
    key_apart,
    label_apart,
    BB: tl.constexpr,
    BC: tl.constexpr,
    BD: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Of BB tokens and one context: the log ratio of a token's own value, and of all other values of the context, and of all."""
    g, block, seed = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    if g < tl.load(used + seed):
        mean, around, variance = mean + seed * D, around + seed * D, variance + seed * D
        total, spread_sum, squared_mean = 0.0, 0.0, 0.0
        for start in range(0, D, WIDE):
            d = start + tl.arange(0, WIDE)
            total += tl.sum(tl.load(variance + d, mask=d < D, other=0.0), 0)
        floor = tl.maximum(total * FLOOR_SHARE / D, LEAST_FLOOR)
        for start in range(0, D, WIDE):
            d = start + tl.arange(0, WIDE)
            precise = tl.where(d < D, 1.0 / (tl.load(variance + d, mask=d < D, other=0.0) + floor), 0.0)
            centre = tl.load(mean + d, mask=d < D, other=0.0)
            spread_sum += tl.sum(tl.load(around + d, mask=d < D, other=0.0) * precise, 0)
            squared_mean += tl.sum(precise / D * centre * centre, 0)
        of_means = tl.maximum(spread_sum / D - 1.0, LEAST_SPREAD)
        r = 1.0 / of_means
        token = block * BB + tl.arange(0, BB)
        there = token < B
        label = tl.load(labels + seed * label_apart + token, mask=there, other=0)
        top, sum_of_all = tl.full((BB,), NEVER, tl.float32), tl.zeros((BB,), tl.float32)
        wrong_top, sum_of_wrong = tl.full((BB,), NEVER, tl.float32), tl.zeros((BB,), tl.float32)
        of_own = tl.zeros((BB,), tl.float32)
        for first in range(0, C, BC):
            c = first + tl.arange(0, BC)
            n = tl.load(counts + (seed * G + g) * C + c, mask=c < C, other=0.0)
            own, on_mean = tl.zeros((BB,), tl.float32), tl.zeros((BB,), tl.float32)
            lengths, towards = tl.zeros((BC,), tl.float32), tl.zeros((BC,), tl.float32)
            products = tl.zeros((BB, BC), tl.float32)
            for start in range(0, D, BD):
                d = start + tl.arange(0, BD)
                inside = d < D
                precise = tl.where(inside, 1.0 / (tl.load(variance + d, mask=inside, other=0.0) + floor), 0.0) / D
                centre = tl.load(mean + d, mask=inside, other=0.0)
                place = keys + seed * key_apart + token[:, None] * key_line + d[None, :]
                key = tl.load(place, mask=there[:, None] & inside[None, :], other=0.0)
                place = sums + ((seed * G + g) * C + c[:, None]) * D + d[None, :]
                value = tl.load(place, mask=(c < C)[:, None] & inside[None, :], other=0.0)
                scaled = key * precise[None, :]
                own += tl.sum(scaled * key, 1)
                on_mean += tl.sum(scaled * centre[None, :], 1)
                lengths += tl.sum(value * value * precise[None, :], 1)
                towards += tl.sum(value * (precise * centre)[None, :], 1)
                products += tl.dot(scaled, tl.trans(value), input_precision="ieee")
            shrunk = n + r
            length = (lengths + 2 * r * towards + r * r * squared_mean) / (shrunk * shrunk)
            product = (products + (r * on_mean)[:, None]) / shrunk[None, :]
            factor = 1.0 + 1.0 / shrunk
            known = (own[:, None] - 2 * product + length[None, :]) / factor[None, :] + tl.log(factor)[None, :]
            new = (own - 2 * on_mean + squared_mean) / (1.0 + of_means) + tl.log(1.0 + of_means)
            found = 0.5 * tl.load(dimensions + seed) * (new[:, None] - known)
            is_own = c[None, :] == label[:, None]
            of_own += tl.sum(tl.where(is_own & (n > 0)[None, :], found, 0.0), 1)
            written = tl.where((n > 0)[None, :], found, NEVER)
            written = tl.where((c < C)[None, :], written, float("-inf"))
            higher = tl.maximum(top, tl.max(written, 1))
            sum_of_all = sum_of_all * tl.exp(top - higher) + tl.sum(tl.exp(written - higher[:, None]), 1)
            top = higher
            wrong = tl.where(is_own, NEVER, written)
            higher = tl.maximum(wrong_top, tl.max(wrong, 1))
            sum_of_wrong = sum_of_wrong * tl.exp(wrong_top - higher) + tl.sum(tl.exp(wrong - higher[:, None]), 1)
            wrong_top = higher
        place = (seed * G + g) * B + token
        tl.store(own_ratios + place, of_own, mask=there)
        tl.store(wrong_ratios + place, wrong_top + tl.log(sum_of_wrong), mask=there)
        tl.store(all_ratios + place, top + tl.log(sum_of_all), mask=there)


@triton.jit(do_not_specialize=("B", "G", "C", "most", "warm_up", "label_apart"))
def decide(
    labels,
    counts,
    used,
    belief,
    doubts,
    own_ratios,
    wrong_ratios,
    all_ratios,
    chosen,
    expected,
    plausible,
    B,
    G,
    C,
    most,
    warm_up,
    opening,
    hazard,
    doubt,
    tolerance,
    least,
    label_apart,
    BB: tl.constexpr,
    BG: tl.constexpr,
    ROWS: tl.constexpr,
):
    """One seed's choice, what it expected, and what contexts are doubted by."""
    seed, g = tl.program_id(0).to(tl.int64), tl.arange(0, BG)
    contexts = tl.load(used + seed)
    there, prior_of_new = g < contexts, hazard / (contexts + 1).to(tl.float32)
    evidence, count, live = tl.zeros((BG,), tl.float32), 0.0, 0.0
    place = (seed * G + g[:, None]) * B
    for first in range(0, B, BB):
        token = first + tl.arange(0, BB)
        mask = there[:, None] & (token < B)[None, :]
        evidence += tl.sum(tl.load(own_ratios + place + token[None, :], mask=mask, other=0.0), 1)
    believed = tl.load(belief + seed * G + g, mask=there, other=0.0)
    evidence = tl.where(there, evidence + tl.log((1.0 - hazard) * believed + prior_of_new + 1e-30), float("-inf"))
    best, likeliest = tl.max(evidence, 0), tl.argmax(evidence, 0)
    for first in range(0, contexts.to(tl.int32) * C, ROWS):
        row = first + tl.arange(0, ROWS)
        n = tl.load(counts + seed * G * C + row, mask=row < contexts * C, other=0.0)
        count += tl.sum(n, 0)
        live += tl.sum((n > 0).to(tl.float32), 0)
    room = (contexts < most) & (count >= warm_up) & (count - live >= warm_up / 2)
    opens = room & (tl.log(prior_of_new) > best + opening)
    if doubt > 0:
        claimed, number = tl.zeros((BG,), tl.float32), 0.0
        for first in range(0, B, BB):
            token = first + tl.arange(0, BB)
            label = tl.load(labels + seed * label_apart + token, mask=token < B, other=0)
            seen = tl.load(counts + (seed * G + likeliest) * C + label, mask=token < B, other=0.0) >= KNOWN
            mask = there[:, None] & (token < B)[None, :]
            wrong = tl.load(wrong_ratios + place + token[None, :], mask=mask, other=NEVER)
            whole = tl.load(all_ratios + place + token[None, :], mask=mask, other=NEVER)
            chosens = tl.load(all_ratios + (seed * G + likeliest) * B + token, mask=token < B, other=NEVER)[None, :]
            top = tl.maximum(tl.maximum(whole, chosens), 0.0)
            below = top + tl.log(tl.exp(whole - top) + tl.exp(chosens - top) + tl.exp(-top))
            claimed += tl.sum(tl.where(seen[None, :], tl.exp(wrong - below), 0.0), 1)
            number += tl.sum(seen.to(tl.float32), 0)
        loss = doubt * number * tl.maximum(claimed / tl.maximum(number, 1.0) - tolerance, 0.0)
        before = tl.load(doubts + seed * G + g, mask=there, other=0.0)
        after = tl.where(g == likeliest, 0.0, tl.maximum(before - loss, least))
        tl.store(doubts + seed * G + g, tl.where(opens, before, after), mask=there)
    for first in range(0, B, BB):
        token = first + tl.arange(0, BB)
        label = tl.load(labels + seed * label_apart + token, mask=token < B, other=0)
        known = tl.load(counts + (seed * G + likeliest) * C + label, mask=token < B, other=0.0) > 0
        of_chosen = (seed * G + likeliest) * B + token
        own, known = tl.load(own_ratios + of_chosen, mask=token < B, other=0.0), known & (opens == 0)
        share = tl.exp(own - tl.load(all_ratios + of_chosen, mask=token < B, other=0.0))
        tl.store(expected + seed * B + token, tl.where(known, share, 0.0), mask=token < B)
        tl.store(plausible + seed * B + token, tl.where(known, tl.sigmoid(own), 0.0), mask=token < B)
    tl.store(chosen + seed, tl.where(opens, contexts, likeliest.to(tl.int64)))
    tl.store(used + seed, contexts + opens.to(tl.int64))


@triton.jit(do_not_specialize=("B", "G", "C", "D", "key_line", "key_apart", "label_apart", "weight_apart"))
def enter(
    keys,
    labels,
    chosen,
    weights,
    squares,
    sums,
    counts,
    belief,
    kept,
    B,
    G,
    C,
    D,
    key_line,
    key_apart,
    label_apart,
    weight_apart,
    BB: tl.constexpr,
    BC: tl.constexpr,
    BD: tl.constexpr,
    BG: tl.constexpr,
):
    """BD coordinates of what a chunk adds to one seed's values; the first program adds to counts and moves the belief."""
    seed, d = tl.program_id(1).to(tl.int64), tl.program_id(0) * BD + tl.arange(0, BD)
    own, squared = tl.load(chosen + seed), tl.zeros((BD,), tl.float32)
    for first in range(0, C, BC):
        c = first + tl.arange(0, BC)
        added, number = tl.zeros((BC, BD), tl.float32), tl.zeros((BC,), tl.float32)
        for start in range(0, B, BB):
            token = start + tl.arange(0, BB)
            label = tl.load(labels + seed * label_apart + token, mask=token < B, other=-1)
            weight = tl.load(weights + seed * weight_apart + token, mask=token < B, other=0.0)
            place = keys + seed * key_apart + token[:, None] * key_line + d[None, :]
            key = tl.load(place, mask=(token < B)[:, None] & (d < D)[None, :], other=0.0)
            share = tl.where(c[:, None] == label[None, :], weight[None, :], 0.0)
            added += tl.dot(share, key, input_precision="ieee")
            number += tl.sum(share, 1)
            if first == 0:
                squared += tl.sum(key * key * weight[:, None], 0)
        row = (seed * G + own) * C + c
        place, mask = sums + row[:, None] * D + d[None, :], (c < C)[:, None] & (d < D)[None, :]
        tl.store(place, tl.load(place, mask=mask, other=0.0) + added, mask=mask)
        if tl.program_id(0) == 0:
            tl.store(counts + row, tl.load(counts + row, mask=c < C, other=0.0) + number, mask=c < C)
    tl.store(squares + seed * D + d, tl.load(squares + seed * D + d, mask=d < D, other=0.0) + squared, mask=d < D)
    if tl.program_id(0) == 0:
        g = tl.arange(0, BG)
        before = tl.load(belief + seed * G + g, mask=g < G, other=0.0)
        tl.store(belief + seed * G + g, kept * before + tl.where(g == own, 1.0 - kept, 0.0), mask=g < G)


@triton.jit(do_not_specialize=("G", "numbers", "apart"))
def exchange(store, weights, present, used, contexts, G, numbers, apart, BLOCK: tl.constexpr):
    """One seed's weights go to their place in the store, and another's come from theirs."""
    seed = tl.program_id(0).to(tl.int64)
    left, taken = tl.load(present + seed), tl.load(contexts + seed * apart)
    for start in range(0, numbers, BLOCK):
        i = start + tl.arange(0, BLOCK)
        own = tl.load(weights + seed * numbers + i, mask=i < numbers)
        other = tl.load(store + (seed * G + taken) * numbers + i, mask=i < numbers)
        tl.store(store + (seed * G + left) * numbers + i, own, mask=i < numbers)
        tl.store(weights + seed * numbers + i, tl.where(left == taken, own, other), mask=i < numbers)
    tl.debug_barrier()  # all have read whose weights are present
    tl.store(present + seed, taken)
    tl.store(used + seed * G + taken, 1)


def assign(values: Values, keys: Tensor, labels: Tensor, dimensions: Tensor, rules: Rules) -> tuple[Tensor, Tensor, Tensor]:
    """The fields of `Assigned`; arguments as in the package."""
    (seeds, tokens, width), (contexts, classes) = keys.shape, values.counts.shape[1:]
    mean, around, variance = (empty((seeds, width), keys) for _ in range(3))
    own, wrong, whole = (empty((seeds, contexts, tokens), keys) for _ in range(3))
    found = torch.empty_like(values.used), empty((seeds, tokens), keys), empty((seeds, tokens), keys)
    keys, labels = _of_whole_rows(keys), _of_whole_rows(labels)
    block = min(TOKENS, padded(tokens))
    spread[(triton.cdiv(width, COORDINATES), seeds)](
        values.squares, values.sums, values.counts, values.used, mean, around, variance, contexts, classes, width, ROWS=32,
        BD=COORDINATES, num_warps=4,
    )  # fmt: skip
    likelihoods[(contexts, triton.cdiv(tokens, FEW), seeds)](
        keys, labels, values.sums, values.counts, values.used, dimensions, mean, around, variance, own, wrong, whole, tokens,
        contexts, classes, width, *keys.stride()[1::-1], labels.stride(0), BB=FEW, BC=CLASSES, BD=COORDINATES,
        WIDE=min(WIDE, padded(width)), num_warps=4,
    )  # fmt: skip
    decide[(seeds,)](
        labels, values.counts, values.used, values.belief, values.doubts, own, wrong, whole, *found, tokens, contexts,
        classes, rules.contexts, rules.warm_up, rules.opening, rules.hazard, rules.doubt, rules.tolerance, rules.least,
        labels.stride(0), BB=block, BG=padded(contexts), ROWS=WIDE, num_warps=4,
    )  # fmt: skip
    return found


def write(values: Values, keys: Tensor, labels: Tensor, chosen: Tensor, weights: Tensor, kept: float) -> None:
    """The values and the belief, changed; arguments as in the package."""
    (seeds, tokens, width), (contexts, classes) = keys.shape, values.counts.shape[1:]
    keys, labels, weights = _of_whole_rows(keys), _of_whole_rows(labels), _of_whole_rows(weights)
    enter[(triton.cdiv(width, NARROW), seeds)](
        keys, labels, chosen, weights, values.squares, values.sums, values.counts, values.belief, kept, tokens, contexts, classes,
        width, *keys.stride()[1::-1], labels.stride(0), weights.stride(0), BB=min(TOKENS, padded(tokens)), BC=CLASSES,
        BD=NARROW, BG=padded(contexts), num_warps=4,
    )  # fmt: skip


def turn(store: Tensor, weights: Tensor, present: Tensor, used: Tensor, contexts: Tensor) -> None:
    """The weights of other contexts; arguments as in the package."""
    (seeds, number), numbers = store.shape[:2], weights[0].numel()
    exchange[(seeds,)](
        store, weights, present, used.view(torch.uint8), contexts, number, numbers, contexts.stride(0),
        BLOCK=min(8192, padded(numbers)), num_warps=8,
    )  # fmt: skip


def _of_whole_rows(matrices: Tensor) -> Tensor:
    """The same numbers, copied unless those of a row follow one another."""
    return matrices if matrices.stride(-1) == 1 else matrices.contiguous()
