"""The exact ridge memory against its sums, token by token, in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nlbench.kernels.backends import Backend
from nlbench.kernels.cases import CASES
from nlbench.kernels.memory_scan import memory_scan
from nlbench.kernels.ridge_scan import ridge_scan

BACKENDS = ("reference", pytest.param("numba", marks=pytest.mark.slow))  # it compiles its kernels once more, in float64
RAGGED = next(case for case in CASES if str(case) == "ridge_scan-ragged-chunks")


def token_by_token(tensors: dict[str, torch.Tensor], chunk: int) -> dict[str, np.ndarray]:
    """What one seed and head leave behind."""
    own = {name: each[0, 0].numpy() for name, each in tensors.items()}
    gram, memory, level, outputs = own["gram"], own["memory"], own["ridge"], []
    for t, (k, v, eta, alpha, q) in enumerate(
        zip(*(own[name] for name in ("keys", "targets", "rate", "retain", "queries")), strict=True)
    ):
        level = (own["ridge"] if t % chunk == 0 else level) * alpha
        gram = alpha * gram + eta * np.outer(k, k)
        memory = alpha * memory + eta * np.outer(v, k)
        outputs.append(memory @ np.linalg.solve(gram + level * np.eye(len(k)), q))
    return {"gram": gram, "memory": memory, "outputs": np.array(outputs)}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("chunk", [1, 7, 16, 64])
def test_chunks_give_what_single_tokens_give(chunk: int, backend: Backend) -> None:
    tensors = RAGGED.inputs(torch.float64)
    found = ridge_scan(**tensors, chunk=chunk, backend=backend)._asdict()
    for name, exact in token_by_token(tensors, chunk).items():
        np.testing.assert_allclose(found[name][0, 0].numpy(), exact, rtol=1e-9, atol=1e-10, err_msg=name)


def test_it_is_ridge_regression_on_all_tokens_so_far() -> None:
    tensors = {name: each[:1, :1] for name, each in RAGGED.inputs(torch.float64).items()}
    tensors |= {name: torch.zeros_like(tensors[name]) for name in ("gram", "memory")}
    tensors["retain"] = torch.ones_like(tensors["retain"])
    t, level = 30, float(tensors["ridge"])
    K, V, eta = (tensors[name][0, 0, : t + 1] for name in ("keys", "targets", "rate"))
    rows = torch.cat([eta.sqrt()[:, None] * K, level**0.5 * torch.eye(K.shape[1], dtype=K.dtype)])
    right = torch.cat([eta.sqrt()[:, None] * V, V.new_zeros(K.shape[1], V.shape[1])])
    fitted = torch.linalg.lstsq(rows, right).solution
    outputs = ridge_scan(**tensors, chunk=16, backend="reference").outputs
    torch.testing.assert_close(outputs[0, 0, t], tensors["queries"][0, 0, t] @ fitted)


def test_calls_at_chunk_ends_equal_one_call() -> None:
    tensors = RAGGED.inputs(torch.float64)
    whole = ridge_scan(**tensors, chunk=16, backend="reference")
    timed = ("keys", "targets", "rate", "retain", "queries")
    state = {name: tensors[name] for name in ("gram", "memory", "ridge")}
    outputs = []
    for start, stop in ((0, 32), (32, 50)):
        part = ridge_scan(**state, **{name: tensors[name][:, :, start:stop] for name in timed}, chunk=16, backend="reference")
        state |= {"gram": part.gram, "memory": part.memory}
        outputs.append(part.outputs)
    torch.testing.assert_close(torch.cat(outputs, 2), whole.outputs)
    torch.testing.assert_close(state["gram"], whole.gram)


def test_with_an_endless_ridge_it_reads_what_a_memory_without_a_metric_reads() -> None:
    tensors = RAGGED.inputs(torch.float64)
    zero = {name: torch.zeros_like(tensors[name]) for name in ("gram", "memory")}
    level = torch.full_like(tensors["ridge"], 1e8)
    kept = torch.ones_like(tensors["retain"])
    found = ridge_scan(**(tensors | zero | {"ridge": level, "retain": kept}), chunk=16, backend="reference").outputs * 1e8
    before = memory_scan(
        zero["memory"], *(tensors[name] for name in ("keys", "targets", "rate")), kept, chunk=16, queries=tensors["queries"],
        read="exact", backend="reference",
    ).outputs  # fmt: skip
    # the plain memory also erases what its keys meet: without a metric, Hebb's sum is left
    sums = torch.einsum("shtk,shjk,shjv,shj->shtjv", *(tensors[name] for name in ("queries", "keys", "targets", "rate")))
    lower = torch.ones(50, 50, dtype=torch.float64).tril()
    torch.testing.assert_close(found, (lower[:, :, None] * sums).sum(3), rtol=1e-5, atol=1e-6)
    assert before is not None
    assert not torch.allclose(found, before)


def test_no_tokens_change_nothing() -> None:
    tensors = {
        name: each[:, :, :0] if each.ndim > 2 and each.shape[2] == 50 else each
        for name, each in RAGGED.inputs(torch.float32).items()
    }
    left = ridge_scan(**tensors, chunk=16)
    assert torch.equal(left.gram, tensors["gram"])
    assert left.outputs.shape == (2, 2, 0, 12)


def test_a_chunk_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        ridge_scan(**RAGGED.inputs(torch.float32), chunk=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_are_those_of_differences(backend: Backend) -> None:
    tensors = {
        name: each[:, :, :6] if each.ndim > 2 and each.shape[2] == 50 else each
        for name, each in RAGGED.inputs(torch.float64).items()
    }
    tensors = {
        name: each[:1, :1, ..., :4] if name not in ("rate", "retain", "ridge") else each[:1, :1] for name, each in tensors.items()
    }
    tensors |= {name: tensors[name][:, :, :4] for name in ("gram", "memory")}
    names = list(tensors)

    def outputs(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        own = dict(zip(names, given, strict=True))
        own["gram"] = 0.5 * (own["gram"] + own["gram"].mT)
        return tuple(ridge_scan(**own, chunk=4, backend=backend))

    assert torch.autograd.gradcheck(outputs, [each.clone().requires_grad_() for each in tensors.values()])
