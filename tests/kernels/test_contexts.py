from __future__ import annotations

import numpy as np
import pytest
import torch

from nlbench.kernels.contexts import Rules, Values, reference


def statistics(tokens=400, contexts=2, classes=3, width=5, seeds=2):
    draw = torch.Generator().manual_seed(0)
    keys = torch.randn(seeds, tokens, width, generator=draw, dtype=torch.float64)
    value = torch.randint(contexts * classes - 1, (seeds, tokens), generator=draw)  # the last value is never written
    one_hot = torch.nn.functional.one_hot(value, contexts * classes).double()
    keys = keys + value[..., None] * torch.tensor([0.5, -0.3, 0.0, 0.1, 0.0])
    keys[..., -1] = 1.0
    sums = (one_hot.mT @ keys).view(seeds, contexts, classes, width)
    return keys, value, sums, one_hot.sum(1).view(seeds, contexts, classes)


def test_spread_is_the_pooled_variance_within_values_shrunk_towards_the_total():
    keys, value, sums, counts = statistics()
    found = reference.spread(keys.square().sum(1), sums, counts)
    for seed in range(2):
        x, v = keys[seed].numpy(), value[seed].numpy()
        within = sum(((x[v == k] - x[v == k].mean(0)) ** 2).sum(0) for k in np.unique(v))
        variance = (within + 16 * x.var(0)) / (len(x) - len(np.unique(v)) + 16)
        variance = variance + 0.1 * variance.mean()
        np.testing.assert_allclose(1 / found.precision[seed], variance, rtol=1e-6)
        np.testing.assert_allclose(found.of_means[seed], max((x.var(0) / variance).mean() - 1, 0.05), rtol=1e-6)


def test_features_that_hardly_vary_are_told_apart_by_no_less_than_rounding():
    keys, _, sums, counts = statistics()
    share = 1e-4
    found = reference.spread((share * keys).square().sum(1), share * sums, counts)
    torch.testing.assert_close(1 / found.precision, torch.full_like(found.precision, 1e-5), rtol=0.05, atol=0.0)


def test_dimension_counts_independent_features():
    width, tokens = 12, 200_000
    draw = torch.randn(1, tokens, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for mixed, expected in ((torch.eye(3), 3.0), (torch.ones(3, width), 1.0)):
        keys = draw @ mixed.double() if len(mixed[0]) == 3 else draw[..., :1] @ mixed[:1].double()
        scatter = keys.mT @ keys
        unit = (tokens / scatter.diagonal(dim1=1, dim2=2)).sqrt()
        scaled = scatter * unit[:, None] * unit[:, :, None]
        trace, squares = scaled.diagonal(dim1=1, dim2=2).sum(1), scaled.square().sum((1, 2))
        found = reference.dimension(trace, squares, torch.tensor([float(tokens)]), scatter.shape[-1])
        assert abs(float(found) - expected) < 0.01 * expected


def test_where_nothing_varies_the_dimension_is_one():
    nothing = torch.zeros(2, dtype=torch.float64)
    assert reference.dimension(nothing, nothing, torch.tensor([0.0, 30.0]), 12).tolist() == [1.0, 1.0]


def test_a_value_written_often_beats_a_new_one_where_its_keys_are_and_loses_elsewhere():
    keys, _, sums, counts = statistics()
    shared = reference.spread(keys.square().sum(1), sums, counts)
    means = (sums / counts.clamp_min(1)[..., None]).flatten(1, 2)[:, :5]
    near = reference.ratios(means, shared, torch.full((2,), 4.0), sums, counts).flatten(2)
    assert (near.diagonal(dim1=1, dim2=2)[:, :5] > 0).all()
    far = reference.ratios(means + 50.0, shared, torch.full((2,), 4.0), sums, counts).flatten(2)
    assert (far[..., :5] < 0).all()
    assert (near[..., 5] == 0).all()
    assert (far[..., 5] == 0).all()


def test_a_context_claims_a_chunk_where_it_would_have_said_other_labels():
    """Context 0 is sure of class 1 for tokens that context 1, the chosen one, is told are class 0; a third knows nothing."""
    counts = torch.tensor([[[9.0, 9.0], [9.0, 0.0], [0.0, 0.0]]])
    found = torch.tensor([[[[0.0, 8.0], [8.0, 0.0], [0.0, 0.0]]]]).expand(1, 5, 3, 2)
    labels, chosen = torch.zeros(1, 5, dtype=torch.int64), torch.tensor([1])
    claimed, number = reference.claims(found, labels, counts, chosen)
    assert number.tolist() == [5.0]
    e = np.exp(8.0)
    np.testing.assert_allclose(claimed[0], [e / (1 + e + 1 + e), 0.0, 0.0], rtol=1e-5, atol=1e-7)
    unknown = reference.claims(found, labels, counts * torch.tensor([1.0, 0.3, 1.0])[:, None], chosen)
    assert unknown[1].tolist() == [0.0]
    assert (unknown[0] == 0).all()


def test_labels_are_expected_among_those_known_and_plausible_beside_a_new_value():
    """The chosen context knows classes 0 and 1: the third token's label is unknown to it."""
    found = torch.tensor([[[[9.0, 9.0, 9.0], [2.0, 1.0, 0.0]]]]).expand(1, 3, 2, 3)
    counts, labels = torch.tensor([[[5.0, 5.0, 5.0], [5.0, 5.0, 0.0]]]), torch.tensor([[0, 1, 2]])
    expected, plausible = reference.expectations(found, labels, counts, torch.tensor([1]))
    e = np.exp([2.0, 1.0])
    np.testing.assert_allclose(expected[0], [*(e / e.sum()), 0.0], rtol=1e-6)
    np.testing.assert_allclose(plausible[0], [*(e / (1 + e)), 0.0], rtol=1e-6)


TYPES = {torch.float32: "*fp32", torch.int64: "*i64", torch.uint8: "*u8"}


@pytest.mark.slow
def test_kernels_compile_for_a_gpu_though_there_is_none(monkeypatch):
    """The interpreter runs what the compiler refuses, such as a variable of a loop that changes its shape."""
    jit = pytest.importorskip("triton.runtime.jit")
    compiler, backends = pytest.importorskip("triton.compiler"), pytest.importorskip("triton.backends.compiler")
    from nlbench.kernels.contexts import _triton

    compiled = []

    def compile_only(kernel, *values, grid, warmup, num_warps, **constants):
        given = dict(zip(kernel.arg_names, values, strict=False)) | constants
        kinds = {name: "constexpr" if name in constants else kind_of(given[name]) for name in kernel.arg_names}
        source = compiler.ASTSource(kernel, kinds, {(kernel.arg_names.index(name),): own for name, own in constants.items()})
        target = backends.GPUTarget("cuda", 90, 32)
        compiled.append((kernel.fn.__name__, len(compiler.compile(source, target, {"num_warps": num_warps}).asm["cubin"])))

    def kind_of(value):
        return TYPES[value.dtype] if isinstance(value, torch.Tensor) else "i32" if isinstance(value, int) else "fp32"

    monkeypatch.setattr(jit.JITFunction, "run", compile_only)
    seeds, contexts, classes, width, tokens = 2, 64, 10, 501, 64
    shapes = (width,), (contexts, classes, width), (contexts, classes), (contexts,), (contexts,)
    values = Values(*(torch.ones(seeds, *shape) for shape in shapes), used=torch.ones(seeds, dtype=torch.int64))
    keys, labels = torch.ones(seeds, tokens, width), torch.zeros(seeds, tokens, dtype=torch.int64)
    rules = Rules(contexts, 10.0, 0.05, 32, 10.0, 0.25, -276.0)
    _triton.assign(values, keys, labels, torch.ones(seeds), rules)
    _triton.write(values, keys, labels, labels[:, 0], keys[..., 0].contiguous(), 0.5)
    _triton.turn(values.sums, values.sums[:, 0].contiguous(), labels[:, 0].contiguous(), values.counts[..., 0] > 0, labels[:, 0])
    assert [name for name, _ in compiled] == ["spread", "likelihoods", "decide", "enter", "exchange"]
    assert min(size for _, size in compiled) > 0
