"""Memories that retain in the metric of past keys: the read-out that ridge regression would find, and protected steps.

A metric is the Gram matrix A = Σ k kᵀ of the keys written so far. Retention in the metric I + A / λ (the general proximal step of
Nested Learning, eq. 59) turns a gradient step into one that moves directions never used at the full rate and well-used ones
hardly: ΔW = -η Δᵀ K (I + A / λ)⁻¹. With a squared loss it can be solved exactly, and the memory no longer depends on the order of
the stream.

Of a gram, what lies on and above the diagonal counts. What lies below is never read, and written by some backends only: `whole`
gives the matrix.

Shapes: S seeds, L tokens or B in a batch, D width of a key, V width of a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from nlbench.errors import NlbenchError
from nlbench.kernels.backends import Backend, Bound, implementation, resolve
from nlbench.kernels.metric_update import batched, reference
from nlbench.kernels.metric_update.reference import own_rates, through_relu, token_errors, whole
from nlbench.kernels.shapes import check_shapes

__all__ = [
    "MetricUpdate",
    "accumulate",
    "bounded",
    "least_squares",
    "load",
    "metric_step",
    "metric_update",
    "own_rates",
    "protecting",
    "protecting_at_once",
    "read_out",
    "through_relu",
    "token_errors",
    "whole",
]


class MetricUpdate(NamedTuple):
    """The memory and precision after the last token, and what the memory answered before each chunk's write (S, L, V)."""

    memory: Tensor
    precision: Tensor
    outputs: Tensor


def metric_update(
    memory: Tensor, precision: Tensor, keys: Tensor, targets: Tensor, *, chunk: int, backend: Backend | Bound = "auto"
) -> MetricUpdate:
    """The memory that solves ridge regression on everything it was ever given, after L more tokens.

    memory     (S, V, D)  reads are `M k`; zero to begin with
    precision  (S, D, D)  P, symmetric: the inverse of λ I + Σ k kᵀ; I / λ to begin with
    keys       (S, L, D); targets (S, L, V)
    chunk      C: tokens per small system; any C gives the same memory, up to rounding

    Per chunk, G = (I + K P Kᵀ)⁻¹, M += (V - K Mᵀ)ᵀ G K P, P -= P Kᵀ G K P. P stays symmetric bit for bit and the C × C system is
    factorised in float64, but over thousands of float32 chunks P still gathers rounding errors: keep the Gram matrix with
    `metric_step` or by hand, and replace P by `protecting` now and then where directions differ by more than 10⁴ in use.
    Differentiable in every tensor. Cost: `1.5 L D²` multiply-adds a seed.

    Source: Nested Learning (arXiv 2512.24695), eq. 59 in the metric λ I + Σ k kᵀ, which makes it recursive least squares.
    """
    check_shapes(
        "metric_update",
        memory=(memory, "S V D"),
        precision=(precision, "S D D"),
        keys=(keys, "S L D"),
        targets=(targets, "S L V"),
    )
    if chunk < 1:
        raise ValueError(f"metric_update: chunk must be at least 1, got {chunk}")
    return MetricUpdate(*implementation(__name__, backend, memory).update(memory, precision, keys, targets, chunk))


def metric_step(
    weights: Tensor,
    gram: Tensor,
    projector: Tensor,
    keys: Tensor,
    surprises: Tensor,
    *,
    rate: float,
    bound: float = float("inf"),
    share: float = 1.0,
    retain: float = 1.0,
    backend: Backend | Bound = "auto",
) -> None:
    """Change weights and gram in place: a gradient step along what the projector lets through, and B more keys in the metric.

    weights    (S, V, D)  W -= rate Δᵀ K P, made shorter where the Frobenius norm of Δᵀ K P exceeds `bound`
    gram       (S, D, D)  A = retain A + share Kᵀ K; share = 0 and retain = 1 leave it as it is
    projector  (S, D, D)  P, symmetric, from `protecting`
    keys       (S, B, D); surprises (S, B, V): Δ, the loss gradient with respect to W k, already divided by what the loss averages

    The B keys are projected, and not the finished (V, D) gradient. Cost: `1.5 B D² + B D V` multiply-adds a seed. Contiguous
    weights and gram.

    Source: general proximal step of Nested Learning (arXiv 2512.24695), eq. 59, in the metric I + A / λ.
    """
    check_shapes(
        "metric_step",
        weights=(weights, "S V D"),
        gram=(gram, "S D D"),
        projector=(projector, "S D D"),
        keys=(keys, "S B D"),
        surprises=(surprises, "S B V"),
    )
    if not (weights.is_contiguous() and gram.is_contiguous()):
        raise ValueError("metric_step: weights and gram are changed in place and must be contiguous")
    kernel = implementation(__name__, backend, weights)
    if hasattr(kernel, "step"):
        kernel.step(weights, gram, projector, keys, surprises, rate, bound, share, retain)
    else:
        kernel.directed_step(weights, gram, keys, keys @ projector, surprises, rate, bound, share, retain)


def bounded(surprises: Tensor, directions: Tensor, bound: float, *, chunk: int, backend: Backend | Bound = "auto") -> Tensor:
    """The surprises Δ (S, N, V), those of every `chunk` rows made smaller where their step Δᵀ X along directions X (S, N, D)
    would exceed `bound` in the Frobenius norm.

    In plain torch on a CPU. Cost: N C (D + V) multiply-adds a seed for chunks of C rows.
    """
    check_shapes("bounded", surprises=(surprises, "S N V"), directions=(directions, "S N D"))
    if surprises.shape[1] % chunk:
        raise ValueError(f"bounded: chunks of {chunk} do not make {surprises.shape[1]} rows")
    of_chunks = (each.unflatten(1, (-1, chunk)).flatten(0, 1) for each in (surprises, directions))
    return implementation(__name__, backend, surprises).bounded(*of_chunks, bound).view(surprises.shape)


def read_out(
    keys: Tensor, memory: Tensor, labels: Tensor, classes: Tensor, *, surprise: float, backend: Backend | Bound = "auto"
) -> tuple[Tensor, Tensor, Tensor]:
    """Every token's softmax cross-entropy (S, B) of what a memory answers to keys, the gradient of their mean with respect to the
    answers, each token's times its rate (S, B, C), and the product of that with the memory, but its last column, where keys are
    positive (S, B, D - 1).

    keys     (S, B, D), rectified but for the constant at the end
    memory   (S, C, D)
    labels   (S, B), indices among C; classes (C,) bool are those that compete
    surprise by how much a token's rate exceeds 1 where it lacks the whole margin, as in `own_rates` of the softmax

    In plain torch on a CPU. Not differentiable. Cost: 2 B C D multiply-adds a seed.
    """
    check_shapes("read_out", keys=(keys, "S B D"), memory=(memory, "S C D"))
    if (labels.shape, classes.shape) != (keys.shape[:2], memory.shape[1:2]):
        raise ValueError(f"read_out: labels {tuple(labels.shape)} and classes {tuple(classes.shape)} must be (S, B) and (C,)")
    return implementation(__name__, backend, keys).read_out(keys, memory, labels, classes, surprise)


def accumulate(gram: Tensor, keys: Tensor, *, retain: float = 1.0, backend: Backend | Bound = "auto") -> None:
    """Make gram (S, D, D) `retain` times itself plus Kᵀ K for keys (S, B, D), in place.

    Cost: `B D²` multiply-adds a seed, half of them on CPU cores and, where metrics are large, on a GPU.
    """
    check_shapes("accumulate", gram=(gram, "S D D"), keys=(keys, "S B D"))
    if not gram.is_contiguous():
        raise ValueError("accumulate: gram is changed in place and must be contiguous")
    implementation(__name__, backend, gram).accumulate(gram, keys, retain)


def protecting(gram: Tensor, ridge: float, *, backend: Backend | Bound = "auto") -> Tensor:
    """P = (I + gram / ridge)⁻¹ (S, D, D), with eigenvalues in (0, 1]: near 1 where no key went, near 0 where many did.

    Factorised by Cholesky in float64, the diagonal raised by what rounding may have taken from the smallest eigenvalue of a Gram
    matrix summed up in gram's own type; where the errors of many sums add up to more, by ten times that, a hundred times, …
    Raises `NlbenchError` where no such matrix is positive definite. Cost: D³ multiply-adds a seed.
    """
    check_shapes("protecting", gram=(gram, "S D D"))
    inverse, failed = _dense(backend, gram).inverse(gram, ridge)
    _check_definite(failed, gram)
    return inverse


def protecting_at_once(grams: Sequence[Tensor], ridges: Sequence[float]) -> tuple[list[Tensor], Tensor]:
    """`protecting` of each on a GPU, and the leading minors (n,) that were not positive, or 0: where one was not, the inverse is
    of no use, and `protecting` may find one.

    Factorised beside each other. The host waits for nothing, so all may be captured in a CUDA graph.
    """
    return batched.inverses(grams, ridges)


def least_squares(gram: Tensor, products: Tensor, ridge: float, *, backend: Backend | Bound = "auto") -> Tensor:
    """The memory M (S, V, D) that minimises Σ ‖M k - v‖² + ridge ‖M‖², from gram Σ k kᵀ (S, D, D) and products Σ k vᵀ (S, D, V).

    Factorised as in `protecting`. Cost: D³ / 6 multiply-adds a seed.
    """
    check_shapes("least_squares", gram=(gram, "S D D"), products=(products, "S D V"))
    memory, failed = _dense(backend, gram).solve(gram, products, ridge)
    _check_definite(failed, gram)
    return memory


def load(*, exact: bool, protects: bool, backend: Backend | Bound = "auto") -> None:
    """Use each program of CPU cores that exact memories, and those that protect, need once, on one number: its machine code is
    loaded, or compiled where this version never ran, before a batch is timed. Other backends have none.
    """
    one = torch.ones(1, 1, 1)
    if resolve(__name__, backend, one) != "numba":
        return
    if exact:
        accumulate(one.clone(), one, backend=backend)
        least_squares(one, one, 1.0, backend=backend)
    if protects:
        metric_step(one.clone(), one.clone(), one, one, one, rate=0.0, backend=backend)
        protecting(one, 1.0, backend=backend)


def _dense(backend: Backend | Bound, tensor: Tensor) -> ModuleType:
    """What factorises whole metrics: on a GPU torch's batched products, whatever the backend."""
    kernel = implementation(__name__, backend, tensor)
    if tensor.device.type == "cuda":
        return batched
    return kernel if hasattr(kernel, "inverse") else reference


def _check_definite(failed: int, gram: Tensor) -> None:
    if failed:
        raise NlbenchError(
            f"the metric of past keys is not positive definite (leading minor {failed} of {gram.shape[-1]}).",
            "Keys are not finite, or far too long: lower the rate, or normalise the inputs.",
        )
