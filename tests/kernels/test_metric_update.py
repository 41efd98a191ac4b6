"""What makes the accumulated metric worth having: order does not matter, and it survives thousands of float32 chunks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from nlbench import NlbenchError
from nlbench.kernels.metric_update import (
    accumulate,
    batched,
    bounded,
    least_squares,
    metric_step,
    metric_update,
    protecting,
    reference,
    whole,
)

S, B, D, V = 2, 6, 7, 3
BACKENDS = pytest.mark.parametrize("backend", ["reference", "numba"])
WIDTHS = pytest.mark.parametrize("width", [7, 64, 150, 330], ids="D{}".format)
"""Less than a panel of the blocked programs, one, some and a rest, and products longer than the cache holds."""


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def metric_of(chunks: list[Tensor], backend: str) -> Tensor:
    metric = torch.zeros(S, chunks[0].shape[2], chunks[0].shape[2], dtype=chunks[0].dtype)
    for keys in chunks:
        accumulate(metric, keys, backend=backend)
    return metric


@BACKENDS
def test_the_memory_is_ridge_regression_on_everything_in_any_order(backend: str) -> None:
    keys, values, ridge = drawn(2, 60, 12), drawn(2, 60, 3, seed=1), 0.1
    start = torch.zeros(2, 3, 12, dtype=torch.float64), torch.eye(12, dtype=torch.float64).repeat(2, 1, 1) / ridge
    exact = torch.linalg.inv(ridge * torch.eye(12, dtype=torch.float64) + keys.mT @ keys)
    for order in (torch.arange(60), torch.randperm(60, generator=torch.Generator().manual_seed(2))):
        found = metric_update(*start, keys[:, order], values[:, order], chunk=7, backend=backend)
        torch.testing.assert_close(found.memory, values.mT @ keys @ exact, rtol=0, atol=1e-12)
        torch.testing.assert_close(found.precision, exact, rtol=0, atol=1e-12)


@BACKENDS
def test_outputs_come_from_before_the_chunk_is_written(backend: str) -> None:
    keys, values = drawn(1, 8, 5), drawn(1, 8, 2, seed=1)
    memory, precision = drawn(1, 2, 5, seed=2), torch.eye(5, dtype=torch.float64)[None]
    found = metric_update(memory, precision, keys, values, chunk=4, backend=backend)
    after = metric_update(memory, precision, keys[:, :4], values[:, :4], chunk=4, backend=backend).memory
    torch.testing.assert_close(found.outputs[:, :4], keys[:, :4] @ memory.mT)
    torch.testing.assert_close(found.outputs[:, 4:], keys[:, 4:] @ after.mT)


def test_float32_stays_symmetric_and_positive_over_thousands_of_chunks_with_refreshes() -> None:
    """Correlated keys of a few directions, 4000 chunks of 8, the worst for recursive least squares in float32."""
    width, ridge, chunks = 48, 1.0, 4000
    basis = drawn(6, width)
    keys = (drawn(1, 8 * chunks, 6, seed=1) @ basis + 0.01 * drawn(1, 8 * chunks, width, seed=2)).float()
    targets = keys @ drawn(1, width, 2, seed=3).float()
    gram = torch.zeros(1, width, width)
    memory, precision = torch.zeros(1, 2, width), torch.eye(width)[None] / ridge
    for start in range(0, 8 * chunks, 8 * 500):
        part = slice(start, start + 8 * 500)
        memory, precision, _ = metric_update(memory, precision, keys[:, part], targets[:, part], chunk=8, backend="numba")
        assert torch.equal(precision, precision.mT)
        accumulate(gram, keys[:, part], backend="numba")
        precision = protecting(gram, ridge, backend="numba") / ridge
        assert torch.linalg.eigvalsh(precision.double()).min() > 0
    exact = torch.linalg.solve(gram[0].double() + ridge * torch.eye(width), keys[0].double().mT @ targets[0].double()).mT
    error = (keys[0].double() @ (memory[0].double() - exact).mT).abs().max() / targets.abs().max()
    assert error < 1e-2


@BACKENDS
@WIDTHS
def test_a_metric_counts_every_key_and_fades_what_was_before(backend: str, width: int) -> None:
    keys = drawn(S, B, width)
    metric = torch.eye(width, dtype=torch.float64).repeat(S, 1, 1)
    accumulate(metric, keys, retain=0.5, backend=backend)
    expected = 0.5 * np.eye(width) + np.einsum("sbi,sbj->sij", keys.numpy(), keys.numpy())
    np.testing.assert_allclose(whole(metric).numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("backend", "device"),
    [
        ("reference", "cpu"),
        ("numba", "cpu"),
        pytest.param(
            "triton",
            "cuda",
            marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
        ),
    ],
)
@pytest.mark.parametrize("width", [7, 150, 513], ids="D{}".format)
def test_what_lies_below_the_diagonal_of_a_gram_is_never_read(backend: str, device: str, width: int) -> None:
    keys, products = (drawn(*shape, dtype=torch.float32).to(device) for shape in ((S, 2 * width, width), (S, width, V)))
    gram, below = keys.mT @ keys, torch.ones(width, width, dtype=torch.bool, device=device).tril(-1)
    half, weights = gram.masked_fill(below, torch.nan), torch.zeros(S, V, width, device=device)
    for given in (gram, half):
        accumulate(given, keys[:, :5], retain=0.5, backend=backend)
        metric_step(weights, given, gram, keys[:, :5], weights.mT[:, :5], rate=0.0, share=0.5, backend=backend)
    torch.testing.assert_close(whole(half), whole(gram))
    for read in (
        lambda gram: protecting(gram, 3.0, backend=backend),
        lambda gram: least_squares(gram, products, 2.0, backend=backend),
    ):
        assert torch.equal(read(half), read(whole(half)))
        assert read(half).isfinite().all()
    assert torch.equal(batched.inverses([half], [3.0])[0][0], batched.inverses([whole(half)], [3.0])[0][0])


@BACKENDS
@WIDTHS
def test_what_protects_is_the_inverse_of_the_shifted_metric(backend: str, width: int) -> None:
    metric = metric_of([drawn(S, 2 * width, width)], backend)
    expected = np.linalg.inv(np.eye(width) + whole(metric).numpy() / 3.0)
    np.testing.assert_allclose(protecting(metric, 3.0, backend=backend).numpy(), expected, rtol=1e-9, atol=1e-12)


@BACKENDS
def test_protection_leaves_unseen_directions_alone_and_slows_seen_ones(backend: str) -> None:
    gram = torch.zeros(1, 4, 4, dtype=torch.float64)
    gram[0, 0, 0] = 99.0
    projector = protecting(gram, 1.0, backend=backend)
    torch.testing.assert_close(projector[0].diagonal(), torch.tensor([0.01, 1.0, 1.0, 1.0], dtype=torch.float64))
    weights, keys, surprises = torch.zeros(1, 2, 4, dtype=torch.float64), torch.ones(1, 1, 4, dtype=torch.float64), drawn(1, 1, 2)
    metric_step(weights, gram, projector, keys, surprises, rate=1.0, backend=backend)
    torch.testing.assert_close(weights[0], -surprises[0].mT @ torch.tensor([[0.01, 1.0, 1.0, 1.0]], dtype=torch.float64))
    assert gram[0, 1, 2] == 1.0


@BACKENDS
@WIDTHS
def test_a_step_is_the_projected_gradient_and_no_longer_than_the_bound(backend: str, width: int) -> None:
    surprises, keys = drawn(S, B, V, seed=1), drawn(S, B, width, seed=2)
    surprises[1] *= 1e-3
    gram = metric_of([drawn(S, B, width, seed=3)], backend)
    projector, before = protecting(gram, 1.0, backend=backend), gram.clone()
    whole = (surprises.mT @ keys) @ projector
    weights = torch.zeros(S, V, width, dtype=torch.float64)
    bound = float(whole[0].norm()) / 4
    metric_step(weights, gram, projector, keys, surprises, rate=0.5, bound=bound, share=0.0, backend=backend)
    torch.testing.assert_close(weights[0], -0.5 * whole[0] / 4)
    torch.testing.assert_close(weights[1], -0.5 * whole[1])
    assert torch.equal(gram, before)


@BACKENDS
def test_keys_enter_the_metric_after_the_step_and_as_often_as_said(backend: str) -> None:
    keys, gram = drawn(S, B, D), metric_of([drawn(S, B, D, seed=3)], backend)
    expected = 0.9 * gram + 4.0 * keys.mT @ keys
    projector = torch.eye(D, dtype=torch.float64).repeat(S, 1, 1)
    metric_step(
        torch.zeros(S, V, D).double(), gram, projector, keys, drawn(S, B, V), rate=1.0, share=4.0, retain=0.9, backend=backend
    )
    torch.testing.assert_close(gram, expected)


def test_surprises_of_zero_make_no_step() -> None:
    assert (bounded(torch.zeros(S, B, V), drawn(S, B, D).float(), bound=1.0, chunk=B) == 0).all()


@BACKENDS
@WIDTHS
def test_least_squares_is_ridge_regression_and_does_not_know_the_order(backend: str, width: int) -> None:
    chunks = [(drawn(S, 60, width, seed=i), drawn(S, 60, V, seed=10 + i)) for i in range(5)]

    def solved(order: list[int]) -> Tensor:
        metric = metric_of([chunks[i][0] for i in order], backend)
        products = sum(keys.mT @ values for keys, values in (chunks[i] for i in order))
        return least_squares(metric, products, 2.0, backend=backend)

    keys = torch.cat([keys for keys, _ in chunks], 1).numpy()
    values = torch.cat([values for _, values in chunks], 1).numpy()
    expected = np.stack([np.linalg.solve(k.T @ k + 2.0 * np.eye(width), k.T @ v).T for k, v in zip(keys, values, strict=True)])
    np.testing.assert_allclose(solved([0, 1, 2, 3, 4]).numpy(), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(solved([3, 1, 4, 0, 2]), solved([0, 1, 2, 3, 4]))


@BACKENDS
def test_a_metric_of_nearly_equal_keys_survives_thousands_of_float32_chunks(backend: str) -> None:
    """Every key is the same but for one part in ten thousand: float32 alone would lose definiteness."""
    width, centre = 60, drawn(1, 1, 60, dtype=torch.float32)
    metric, products = torch.zeros(1, width, width), torch.zeros(1, width, V)
    for i in range(2000):
        keys = centre + 1e-4 * drawn(1, 16, width, seed=i, dtype=torch.float32)
        accumulate(metric, keys, backend=backend)
        products.baddbmm_(keys.mT, torch.ones(1, 16, V))
    assert torch.linalg.eigvalsh(whole(metric).double()).min() < 0
    memory = least_squares(metric, products, 1e-6, backend=backend)
    torch.testing.assert_close(centre @ memory.mT, torch.ones(1, 1, V), atol=1e-2, rtol=0)
    eigenvalues = torch.linalg.eigvalsh(protecting(metric, 1e3, backend=backend).double())
    assert eigenvalues.min() > 0
    assert eigenvalues.max() < 1.05


@BACKENDS
@pytest.mark.parametrize("fault", [torch.nan, -1.0])
def test_a_metric_that_is_not_one_is_refused(backend: str, fault: float) -> None:
    gram = torch.eye(100).repeat(2, 1, 1)
    gram[1, 70, 70] = fault * 1e6
    for call in (
        lambda: least_squares(gram, torch.zeros(2, 100, V), 1.0, backend=backend),
        lambda: protecting(gram, 1.0, backend=backend),
    ):
        with pytest.raises(NlbenchError, match="not positive definite"):
            call()


def test_what_is_read_from_a_metric_leaves_it_alone_in_either_precision() -> None:
    for dtype in (torch.float32, torch.float64):
        gram = torch.eye(4, dtype=dtype).repeat(2, 1, 1)
        protecting(gram, 2.0, backend="reference")
        least_squares(gram, torch.ones(2, 4, 3, dtype=dtype), 2.0, backend="reference")
        assert torch.equal(gram, torch.eye(4, dtype=dtype).expand(2, 4, 4))


@pytest.mark.parametrize("width", [1, 63, 64, 100, 129, 300])
def test_products_for_a_gpu_invert_and_solve_as_the_reference_does(width: int) -> None:
    metric, products = metric_of([drawn(S, 2 * width, width)], "reference"), drawn(S, width, V)
    for own, expected in zip(batched.inverse(metric, 3.0), reference.inverse(metric, 3.0), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-10, atol=1e-13)
    for own, expected in zip(batched.solve(metric, products, 3.0), reference.solve(metric, products, 3.0), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-10, atol=1e-13)
    inverse, _ = batched.inverse(metric.float(), 3.0)
    assert inverse.dtype == torch.float32
    assert torch.equal(inverse, inverse.mT)


def test_products_for_a_gpu_raise_only_what_rounding_has_made_indefinite_and_name_the_minor() -> None:
    gram = torch.eye(100).repeat(2, 1, 1)
    expected, _ = batched.inverse(gram[:1], 1.0)
    gram[1, 70, 70] = -1.0 - 1e-5
    (sound, mended), failed = batched.inverse(gram, 1.0)
    assert failed == 0
    assert torch.equal(sound, expected[0])
    assert mended.isfinite().all()
    gram[1, 70, 70] = -1e3
    assert batched.inverse(gram, 1.0)[1] == reference.inverse(gram, 1.0)[1] == 71


def test_several_metrics_are_inverted_as_one_by_one_and_each_failure_is_known() -> None:
    metrics = [metric_of([drawn(S, 2 * width, width)], "reference") for width in (5, 70, 130)]
    found, failed = batched.inverses(metrics, [1.0, 2.0, 3.0])
    assert failed.tolist() == [0, 0, 0]
    for own, metric, ridge in zip(found, metrics, (1.0, 2.0, 3.0), strict=True):
        torch.testing.assert_close(own, batched.inverse(metric, ridge)[0], rtol=1e-12, atol=1e-14)
    slightly, fully = torch.eye(100).repeat(2, 1, 1), torch.eye(100).repeat(2, 1, 1)
    slightly[1, 70, 70], fully[0, 3, 3] = -1.0 - 5e-5, torch.nan
    assert batched.inverse(slightly, 1.0)[1] == 0
    assert (batched.inverses([slightly, fully, metrics[0]], [1.0, 1.0, 1.0])[1] > 0).tolist() == [True, True, False]
