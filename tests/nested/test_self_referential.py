"""Self-referential Titans against a token loop that follows the equations one by one."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from token_loop import NAMES, TokenLoop, configured, draw, module

from nlbench.kernels.self_referential_scan import Memories, self_referential_scan
from nlbench.kernels.self_referential_scan import _numba as kernel_scan
from nlbench.nested.self_referential import Group, Matrix, SelfReferential, SelfReferentialConfig, Tokens, learn


def compare(config, tokens=21, tolerance=1e-12):
    block, x = module(config), 1.5 * draw(tokens, 8)
    loop = TokenLoop(block)
    expected = loop.run(x)
    with torch.no_grad():
        y, state = block(x[None])
    scale = max(1.0, float(expected.abs().max()))
    assert (y[0] - expected).abs().max() < tolerance * scale
    for name, matrices in loop.now.items():
        for i, matrix in enumerate(matrices):
            assert (state[f"{name}.{i}"][0, 0] - (matrix - loop.initial[name][i])).abs().max() < tolerance * scale, name


@pytest.mark.parametrize("read", ["stale", "exact"])
@pytest.mark.parametrize("objective", ["l2", "dot"])
@pytest.mark.parametrize("form", ["linear", "matrix", "mlp"])
@pytest.mark.parametrize(("chunk", "outer_chunk"), [(1, 1), (4, 8)])
def test_equals_the_token_loop(form, objective, read, chunk, outer_chunk):
    """At chunk 1 this is the recurrence (88) itself; at 4 | 8 both chunk sizes and a ragged end are at work."""
    compare(configured(form=form, objective=objective, read=read, chunk=chunk, outer_chunk=outer_chunk))


@pytest.mark.parametrize("form", ["linear", "mlp"])
@pytest.mark.parametrize(
    "changes",
    [
        {"momentum": 0.6},
        {"momentum": 0.6, "read": "exact"},
        {"retention": "zero"},
        {"retention": "zero", "momentum": 0.6},
        {"adaptive_query": True},
        {"target_clip": None, "normalize_values": False, "rate_max": 0.05},
        {"retain_min": 0.9, "retain_bias": 5.0, "rate_bias": -3.0},
    ],
    ids=str,
)
def test_options_equal_the_token_loop(form, changes):
    compare(configured(form=form, **changes))


def test_full_block_with_two_chunk_sizes_as_published_identity():
    """C_o = 32, C_m = 16, zero retention, no value norm and no clip: the last of the closed forms, relative error."""
    config = configured(
        chunk=16, outer_chunk=32, retention="zero", normalize_values=False, target_clip=None, rate_max=1.0, rate_bias=-1.0
    )
    block = module(config, dim=16)
    x = draw(96, 16)
    loop = TokenLoop(block)
    expected = loop.run(x)
    y, state = block(x[None])
    size = max(float(matrices[0].abs().max()) for matrices in loop.now.values())
    assert (y[0] - expected).abs().max() < 1e-10 * expected.abs().max()
    for name in NAMES:
        found = state[f"{name}.0"][0, 0] + loop.initial[name][0]
        assert (found - loop.now[name][0]).abs().max() < 1e-10 * size


def test_mlp_memory_writes_each_layer_with_its_own_input():
    """Residual MLP, stale gradients, given gates: both layers follow the gated recurrence with their own inputs."""
    C, d, h = 32, 24, 40
    inner, outer = 0.2 * draw(h, d), 0.2 * draw(d, h, seed=1)
    keys, values = F.normalize(draw(C, d, seed=2), dim=-1), draw(C, d, seed=3)
    retain, rate = (
        0.8 + 0.2 * torch.rand(C, generator=torch.Generator().manual_seed(4)).double(),
        torch.linspace(0.05, 0.95, C).double(),
    )
    config = configured(form="mlp", retention="zero", target_clip=None)
    memory = Group(("memory",), (h,), Matrix(inner[None, None]), (Matrix(outer[None, None]),))
    tokens = Tokens(keys[None, None], values[None, None], rate[None, None], retain[None, None], None)
    new, _ = learn(memory, tokens, config)

    def mlp(z, a, b):
        return z + F.gelu(z @ a.T) @ b.T

    a, b = inner.clone(), outer.clone()
    for t in range(C):
        leaves = inner.clone().requires_grad_(), outer.clone().requires_grad_()
        loss = 0.5 * (mlp(keys[t], *leaves) - mlp(values[t], inner, outer)).square().sum()
        g_inner, g_outer = torch.autograd.grad(loss, leaves)
        hidden = F.gelu(keys[t] @ inner.T)
        hidden = hidden / hidden.norm().clamp_min(1.0)
        a = a @ (retain[t] * torch.eye(d).double() - rate[t] * torch.outer(keys[t], keys[t])) - rate[t] * g_inner
        b = b @ (retain[t] * torch.eye(h).double() - rate[t] * torch.outer(hidden, hidden)) - rate[t] * g_outer
    assert (inner + new.first.difference[0, 0] - a).abs().max() < 1e-12
    assert (outer + new.second[0].difference[0, 0] - b).abs().max() < 1e-12


@pytest.mark.parametrize("read", ["stale", "exact"])
@pytest.mark.parametrize("objective", ["l2", "dot"])
def test_agrees_with_the_fused_kernel_where_both_apply(objective, read):
    config = configured(chunk=4, outer_chunk=8, rate_max=0.1, target_clip=None, read=read, objective=objective)
    block, x = module(config, dim=16, heads=2, seeds=(0, 1)), draw(2, 3, 19, 16)
    y, state = block(x)

    def programs(value):
        return value.unflatten(-1, (2, 8)).transpose(2, 3).flatten(1, 2)

    learned = {name: block.initial[name][0][:, None].expand(-1, 3, -1, -1, -1).flatten(1, 2) for name in NAMES}
    learned = Memories(
        learned["key"], learned["value"], learned["rate"][..., 0, :], learned["retain"][..., 0, :], learned["memory"]
    )
    q = programs(block.query(x))
    final, out = self_referential_scan(
        programs(x), q / q.norm(dim=-1, keepdim=True), learned, block.rate_bias.repeat(1, 3), block.retain_bias.repeat(1, 3),
        chunk=4, outer_chunk=8, rate_max=0.1, objective=objective, read=read, initial=learned, backend="reference",
    )  # fmt: skip
    assert (programs(y) - out).abs().max() < 1e-10
    assert (state["memory.0"].flatten(1, 2) - (final.memory - learned.memory)).abs().max() < 1e-10
    assert (state["key.0"].flatten(1, 2) - (final.keys - learned.keys)).abs().max() < 1e-10


@pytest.mark.parametrize(
    ("objective", "truncation", "clip", "given", "seeds"),
    [("l2", 4, 1.0, False, (0, 1)), ("l2", 2, 0.7, True, 3), ("dot", None, None, True, (0, 1)), ("dot", 1, 0.7, False, 3)],
)
def test_memories_of_one_clock_learn_in_one_program(objective, truncation, clip, given, seeds, monkeypatch):
    config = configured(chunk=4, outer_chunk=4, objective=objective, truncation=truncation, target_clip=clip)
    found, calls = [], []
    monkeypatch.setattr(kernel_scan, "scan", lambda *each, scan=kernel_scan.scan: calls.append(each) or scan(*each))
    for backend in ("reference", "numba"):
        block = SelfReferential(16, 2, replace(config, backend=backend), seeds=seeds)
        x = draw(*(() if seeds == 3 else (2,)), 3, 27, 16).float().requires_grad_()
        state = {name: draw(*each.shape).float().mul(0.1) for name, each in block.initial_state(3).items()} if given else None
        y, after = block(x, state)
        left = [y, *(after[f"{name}.0"] for name in NAMES)]
        weights = [draw(*each.shape, seed=1).float() for each in left]
        found.append((*left, *torch.autograd.grad(left, [x, *block.parameters()], weights)))
    assert len(calls) == 1
    for plain, own in zip(*found, strict=True):
        assert (plain - own).abs().max() < 2e-5 * plain.abs().max()


def everything(block, x, state=None, scanned=False):
    """Outputs, states and gradients of a block, by one scan of all memories or as it chooses itself."""
    y, after = (block._scanned if scanned else block)(x, state)
    left = [y, *(after[f"{name}.0"] for name in NAMES)]
    weights = [draw(*each.shape, seed=1).to(each) for each in left]
    return [*left, *torch.autograd.grad(left, [x, *block.parameters()], weights)]


@pytest.mark.parametrize("objective", ["l2", "dot"])
@pytest.mark.parametrize("read", ["stale", "exact"])
@pytest.mark.parametrize("given", [False, True])
def test_one_scan_of_two_clocks_learns_what_memories_learn_one_by_one(objective, read, given):
    config = configured(chunk=4, outer_chunk=8, objective=objective, read=read, truncation=None, target_clip=None)
    block, x = SelfReferential(16, 2, replace(config, backend="reference")).double(), draw(3, 27, 16).requires_grad_()
    state = {name: 0.1 * draw(*each.shape) for name, each in block.initial_state(3).items()} if given else None
    for plain, own in zip(everything(block, x, state), everything(block, x, state, scanned=True), strict=True):
        assert (plain - own).abs().max() < 1e-10 * max(1.0, plain.abs().max())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("chunk", "read"), [(64, "stale"), (16, "stale"), (16, "exact")])
def test_a_gpu_learns_unclipped_memories_in_one_scan(chunk, read, monkeypatch):
    from nlbench.kernels.self_referential_scan import _triton

    calls = []
    monkeypatch.setattr(_triton, "scan", lambda *each, scan=_triton.scan: calls.append(each) or scan(*each))
    config = SelfReferentialConfig(form="linear", chunk=chunk, read=read, truncation=None, target_clip=None)
    x, found = draw(3, 150, 128).float().cuda().requires_grad_(), []
    for backend in ("reference", "auto"):
        block = SelfReferential(128, 2, replace(config, backend=backend)).cuda()
        found.append(everything(block, x))
    everything(SelfReferential(128, 2, replace(config, target_clip=1.0)).cuda(), x)
    assert len(calls) == 1
    for plain, own in zip(*found, strict=True):
        assert (plain - own).abs().max() < 1e-4 * plain.abs().max()


def test_queries_and_keys_have_unit_length():
    block, x = module(), draw(1, 8, 8)
    asked = block._ask(block._group(block.config.names[:-1], None), block._heads(100 * x), block._heads(block.query(1e-3 * x)))
    for tokens in (asked.keys, asked.values, asked.queries):
        assert torch.allclose(tokens.norm(dim=-1), torch.ones(1, 1, 8).double(), atol=1e-5)


def test_retention_returns_to_the_initial_state_and_zero_forgets_it():
    state = {name: draw(*value.shape) for name, value in module().initial_state(1).items()}
    x = draw(1, 3000, 8)
    for target in ("init", "zero"):
        block = module(configured(retention=target, rate_max=0.0, chunk=64, outer_chunk=64))
        with torch.no_grad():
            _, end = block(0.1 * x, state)
        away = end["memory.0"] if target == "init" else end["memory.0"] + block.initial["memory"][0]
        assert away.abs().max() < 1e-6


def one_matrix_for_all(block, x):
    """The map G with M_C = M_0 G that bare matrices with zero retention share, from each memory in turn."""
    _, state = block(x)
    maps = []
    for name in ("key", "value", "memory"):
        start = block.initial[name][0][0]
        maps.append(torch.linalg.lstsq(start, start + state[f"{name}.0"][0, 0]).solution)
    return maps


def test_bare_matrices_that_make_their_own_targets_are_degenerate_and_residual_ones_are_not():
    config = {"chunk": 8, "outer_chunk": 8, "retention": "zero", "target_clip": None, "rate_max": 0.2}
    maps = one_matrix_for_all(module(configured(form="matrix", **config)), draw(1, 8, 8))
    assert max((maps[0] - other).abs().max() for other in maps) < 1e-10
    maps = one_matrix_for_all(module(configured(form="linear", **config)), draw(1, 8, 8))
    assert max((maps[0] - other).abs().max() for other in maps) > 1e-3

    def zero_stays_zero(form) -> bool:
        block = module(configured(form=form, **config))
        with torch.no_grad():
            block.initial["memory"][0].zero_()
        return bool(block(draw(1, 8, 8))[1]["memory.0"].abs().max() < 1e-12)

    assert zero_stays_zero("matrix")
    assert not zero_stays_zero("linear")


@pytest.mark.parametrize(("sign", "right"), [(1.0, True), (-1.0, False)])
def test_dot_objective_learns_towards_its_target(sign, right):
    """Eq. 92 prints -η v̂kᵀ; the gradient of -⟨Mk, v̂⟩ is -v̂kᵀ, so the write is +η v̂kᵀ. The printed sign unlearns."""
    config = configured(form="matrix", objective="dot", retention="zero", target_clip=None)
    k, v = F.normalize(draw(1, 1, 1, 8), dim=-1), F.normalize(draw(1, 1, 1, 8, seed=1), dim=-1)
    start = 0.1 * draw(1, 1, 8, 8, seed=2)
    target = v @ start.mT
    tokens = Tokens(k, sign * v, torch.full((1, 1, 1), 0.5).double(), torch.ones(1, 1, 1).double(), None)
    after, _ = learn(Group(("memory",), (8,), Matrix(start), ()), tokens, config)
    erased = start - 0.5 * (start @ k.mT) @ k
    gain = ((after.first.times(k) - k @ erased.mT) * target).sum()
    assert (float(gain) > 0) == right


def test_without_self_modification_a_bare_matrix_with_exact_reads_is_the_gated_delta_rule():
    config = configured(form="matrix", objective="dot", retention="zero", read="exact", self_modifying=False)
    made, x = module(config), draw(1, 11, 8)
    read, state = made(x)
    initial = {name: made.initial[name][0].detach()[0] for name in NAMES}
    memory = initial["memory"].clone()
    for token, got in zip(x[0], read[0], strict=True):
        k, v = (F.normalize(initial[name] @ token, dim=0) for name in ("key", "value"))
        rate = torch.sigmoid(initial["rate"][0] @ token + made.rate_bias.detach())
        retain = torch.sigmoid(initial["retain"][0] @ token + made.retain_bias.detach())
        torch.testing.assert_close(got, memory @ F.normalize(made.query.weight.detach() @ token, dim=0))
        memory = retain * memory + rate * torch.outer(v - memory @ k, k)
    torch.testing.assert_close(initial["memory"] + state["memory.0"][0, 0], memory)
    assert set(state) == set(made.initial_state(1)) == {"memory.0"}
    again, _ = made(x, state)
    assert not torch.equal(again, read)


@pytest.mark.parametrize("form", ["linear", "mlp"])
def test_without_self_modification_a_value_is_its_own_target(form):
    made = module(configured(form=form, self_modifying=False, chunk=1, outer_chunk=1))
    state = made(draw(1, 1, 8))[1]
    loop = TokenLoop(made)
    x = draw(1, 1, 8)[0, 0]
    value = F.normalize(loop.answer("value", loop.initial["value"], x), dim=0)
    key = F.normalize(loop.answer("key", loop.initial["key"], x), dim=0)
    error = value - loop.answer("memory", loop.initial["memory"], key)
    rate = torch.sigmoid(
        loop.initial["rate"][-1] @ (x if form == "linear" else F.gelu(loop.initial["rate"][0] @ x)) + loop.rate_bias
    )
    last = loop.initial["memory"][-1]
    inner = key if form == "linear" else F.gelu(loop.initial["memory"][0] @ key)
    length = max(1.0, float(inner.norm()))
    written = rate * torch.outer(error * length, inner / length)
    torch.testing.assert_close(state[f"memory.{len(loop.initial['memory']) - 1}"][0, 0], written)
    assert last.shape == written.shape
