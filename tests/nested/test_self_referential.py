"""Self-referential Titans against a token loop that follows the equations one by one."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from nlbench.kernels.self_referential_scan import Memories, self_referential_scan
from nlbench.nested.self_referential import Group, Matrix, SelfReferential, SelfReferentialConfig, Tokens, learn

REFERENCE = SelfReferentialConfig(form="linear", chunk=4, outer_chunk=8, truncation=None, backend="reference")
NAMES = ("key", "value", "rate", "retain", "memory")


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def module(config=REFERENCE, dim=8, heads=1, seeds=0) -> SelfReferential:
    return SelfReferential(dim, heads, config, seeds=seeds).double()


def configured(**changes) -> SelfReferentialConfig:
    return replace(REFERENCE, **changes)


class TokenLoop:
    """One head, one stream, one token at a time: eq. 83-93 as they are resolved, with nothing shared with the package."""

    def __init__(self, module: SelfReferential) -> None:
        self.config = module.config
        self.initial = {name: [p.detach()[0].clone() for p in module.initial[name]] for name in module.config.names}
        self.now = {name: [m.clone() for m in matrices] for name, matrices in self.initial.items()}
        self.start = {name: [m.clone() for m in matrices] for name, matrices in self.initial.items()}
        self.velocity = {name: [0 * m for m in matrices] for name, matrices in self.initial.items()}
        self.rate_bias, self.retain_bias = float(module.rate_bias.detach()), float(module.retain_bias.detach())
        self.project = None if module.query is None else module.query.weight.detach()

    def answer(self, name, matrices, z):
        y = matrices[0] @ z if len(matrices) == 1 else matrices[1] @ F.gelu(matrices[0] @ z)
        return y + z if name not in ("rate", "retain") and self.config.form != "matrix" else y

    def step(self, t, x):
        c = self.config
        for name in self.now:
            if t % (c.chunk if name == "memory" else c.outer_chunk) == 0:
                self.start[name] = [m.clone() for m in self.now[name]]
        k = self.answer("key", self.start["key"], x)
        k = k / k.norm()
        v = self.answer("value", self.start["value"], x)
        v = v / v.norm() if c.normalize_values else v
        share = torch.sigmoid(self.answer("rate", self.start["rate"], x) + self.rate_bias)
        retain = c.retain_min + (1 - c.retain_min) * torch.sigmoid(
            self.answer("retain", self.start["retain"], x) + self.retain_bias
        )
        q = self.answer("query", self.start["query"], x) if self.project is None else self.project @ x
        q = q / q.norm()
        y = self.answer("memory", self.start["memory"] if c.read == "stale" else self.now["memory"], q)
        for name in self.now:
            chunk = c.chunk if name == "memory" else c.outer_chunk
            cap = c.rate_max if c.rate_max is not None else (1 - c.momentum) * (1.0 if c.objective == "dot" else 1 / chunk)
            self.write(name, k, v, cap * share, retain)
        return y

    def write(self, name, k, v, rate, retain):
        c = self.config
        leaves = [m.clone().requires_grad_() for m in self.start[name]]
        target = self.answer(name, self.start[name], v)
        if c.target_clip is not None:
            target = target * min(1.0, c.target_clip / float(target.norm()))
        y = self.answer(name, leaves, k)
        loss = 0.5 * (y - target).square().sum() if c.objective == "l2" else -(y * target).sum()
        gradients = torch.autograd.grad(loss, leaves)
        hidden = F.gelu(self.start[name][0] @ k)
        inputs = [k, hidden / max(1.0, float(hidden.norm()))]
        for i, (gradient, a) in enumerate(zip(gradients, inputs, strict=False)):
            base = self.initial[name][i] if c.retention == "init" else 0 * self.initial[name][i]
            decay = retain * torch.eye(len(a)).double() - rate * torch.outer(a, a)
            self.velocity[name][i] = c.momentum * self.velocity[name][i] - rate * gradient
            self.now[name][i] = base + (self.now[name][i] - base) @ decay + self.velocity[name][i]

    def run(self, x):
        return torch.stack([self.step(t, token) for t, token in enumerate(x)])


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


def write_then_read(block, x):
    """Faulty: a chunk is written first and then read from the state at its end, as the printed index C⌈t/C⌉ says."""
    outputs, state = [], block.initial_state(1)
    for start in range(0, x.shape[1], block.config.chunk):
        _, state = block(x[:, start : start + block.config.chunk], state)
        outputs.append(block(x[:, start : start + block.config.chunk], state)[0])
    return torch.cat(outputs, 1)


def depends_on(read, block, x, target, source) -> float:
    """How much the answer to token `target` changes when token `source` does."""
    changed = x.clone()
    changed[:, source] += 1.0
    return float((read(block, changed) - read(block, x))[:, target].detach().abs().max())


@pytest.mark.parametrize("form", ["linear", "mlp"])
def test_stale_read_ignores_the_other_tokens_of_its_chunk(form):
    block, x = module(configured(form=form, chunk=4, outer_chunk=4)), draw(1, 12, 8)

    def right(block, x):
        return block(x)[0]

    assert max(depends_on(right, block, x, 7, source) for source in (4, 5, 6)) == 0.0
    assert depends_on(right, block, x, 7, 3) > 1e-6, "and sees the chunk before"
    assert depends_on(write_then_read, block, x, 7, 5) > 1e-6


@pytest.mark.parametrize("read", ["stale", "exact"])
def test_future_tokens_leave_past_outputs_unchanged(read):
    block, x = module(configured(read=read)), draw(1, 24, 8)

    def right(block, x):
        return block(x)[0]

    assert max(depends_on(right, block, x, target, 13) for target in range(13)) == 0.0
    assert max(depends_on(write_then_read, block, x, target, 13) for target in range(13)) > 1e-6


def batch_shared(block, x):
    """Faulty: one state for the whole batch, written with the mean over its rows."""
    state, outputs = block.initial_state(1), []
    for start in range(0, x.shape[1], block.config.outer_chunk):
        rows = [block(row[None, start : start + block.config.outer_chunk], state) for row in x]
        outputs.append(torch.cat([y for y, _ in rows]))
        state = {name: torch.stack([s[name] for _, s in rows]).mean(0) for name in state}
    return torch.cat(outputs, 1)


def test_rows_with_states_of_their_own_do_not_interact():
    block, x = module(), draw(3, 24, 8)

    def interacts(read) -> bool:
        changed = x.clone()
        changed[1] += 1.0
        return not torch.equal(read(block, changed)[[0, 2]], read(block, x)[[0, 2]])

    assert not interacts(lambda block, x: block(x)[0])
    assert interacts(batch_shared)


def test_heads_are_block_diagonal_memories():
    block = module(configured(adaptive_query=True), dim=16, heads=2)
    x = draw(1, 20, 16)
    changed = x.clone()
    changed[..., 8:] += 1.0
    assert torch.equal(block(changed)[0][..., :8], block(x)[0][..., :8])


def test_replicas_are_the_ordinary_modules_of_their_seeds():
    config = configured(form="mlp", momentum=0.5)
    many, x = module(config, heads=2, seeds=(3, 5)), draw(2, 3, 20, 8)
    y, state = many(x)
    for replica, seed in enumerate((3, 5)):
        alone, own = module(config, heads=2, seeds=seed)(x[replica])
        assert (y[replica] - alone).abs().max() < 1e-12
        assert max((state[name][replica] - own[name]).abs().max() for name in own) < 1e-12


def test_two_calls_at_a_segment_boundary_equal_one():
    block, x = module(configured(form="mlp", momentum=0.5)), draw(2, 21, 8)
    whole, end = block(x)
    first, state = block(x[:, :16])
    second, last = block(x[:, 16:], state)
    assert (torch.cat([first, second], 1) - whole).abs().max() < 1e-13
    assert max((end[name] - last[name]).abs().max() for name in end) < 1e-13


def test_a_state_under_other_names_is_not_taken_for_a_fresh_stream():
    block, x = module(), draw(1, 8, 8)
    _, state = block(x)
    with pytest.raises(KeyError):
        block(x, {f"mixer.{name}": value for name, value in state.items()})
    with pytest.raises(KeyError, match="velocity"):
        module(configured(momentum=0.5))(x, state)


def in_place(block, x):
    """Faulty: inner updates go into the parameters that the outer loop learns."""
    y, state = block(x)
    with torch.no_grad():
        for name in NAMES:
            block.initial[name][0] += state[f"{name}.0"][0]
    return y


def test_frozen_evaluation_is_bit_identical_and_order_invariant():
    def survives(read) -> bool:
        block, x = module(), draw(4, 20, 8)
        before = {name: value.clone() for name, value in block.state_dict().items()}
        first, shuffled = read(block, x), read(block, x[[2, 0, 3, 1]])
        same = all(torch.equal(value, before[name]) for name, value in block.state_dict().items())
        return same and torch.equal(first[[2, 0, 3, 1]], shuffled)

    assert survives(lambda block, x: block(x)[0])
    assert not survives(in_place)


def host_side_gates(block, x):
    """Faulty: η and α become one Python number a call, so the outer gradient ends there."""
    for bias in (block.rate_bias, block.retain_bias):
        bias.requires_grad_(False)
    for name in ("rate", "retain"):
        block.initial[name].requires_grad_(False)
    return block(x)[0]


@pytest.mark.parametrize("form", ["linear", "mlp", "matrix"])
@pytest.mark.parametrize("truncation", [1, 4, None])
def test_outer_gradient_reaches_every_initial_state(form, truncation):
    def untouched(read) -> list[str]:
        block = module(configured(form=form, truncation=truncation))
        read(block, draw(2, 24, 8)).square().sum().backward()
        return [name for name, p in block.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-9]

    assert untouched(lambda block, x: block(x)[0]) == []
    assert untouched(host_side_gates) != []


def test_full_outer_gradient_passes_gradcheck():
    block = module(configured(form="mlp", chunk=1, outer_chunk=2, momentum=0.3), dim=4)
    names = [name for name, _ in block.named_parameters()]

    def run(x, *parameters):
        return torch.func.functional_call(block, dict(zip(names, parameters, strict=True)), (x,))[0]

    leaves = [p.detach().requires_grad_() for p in block.parameters()]
    assert torch.autograd.gradcheck(run, (draw(1, 5, 4).requires_grad_(), *leaves), atol=1e-6, fast_mode=True)


def test_truncation_is_where_the_gradient_through_writes_ends():
    x = draw(1, 32, 8)

    def reach(truncation) -> list[bool]:
        leaf = x.clone().requires_grad_()
        block = module(configured(chunk=4, outer_chunk=8, truncation=truncation))
        block(leaf)[0][:, 24:].square().sum().backward()
        return [bool(leaf.grad[:, start : start + 8].abs().max() > 1e-9) for start in range(0, 32, 8)]

    assert reach(None) == [True, True, True, True]
    assert reach(2) == [False, False, True, True]
    assert reach(1) == [False, False, False, True]
    outputs = [module(configured(truncation=n))(x)[0] for n in (None, 2, 0)]
    assert torch.allclose(outputs[0], outputs[1], atol=1e-13)
    assert torch.allclose(outputs[0], outputs[2], atol=1e-13)


def test_first_order_gradient_reads_initial_plus_a_constant_difference():
    block, x = module(configured(truncation=0)), draw(1, 24, 8)
    y, _ = block(x)
    (found,) = torch.autograd.grad(y.square().sum(), block.initial["memory"][0])
    q = block.query(x)
    q = q / q.norm(dim=-1, keepdim=True)
    assert (found[0] - (2 * y[0]).T @ q[0]).abs().max() < 1e-10, "y = q + (M_0 + constant) q"
    (gate,) = torch.autograd.grad(block(x)[0].sum(), block.initial["rate"][0], allow_unused=True)
    assert gate is None or gate.abs().max() == 0


def unbiased_gate(module):
    """Faulty: α = σ(M_α(x)) without a bias is .5: the memory is gone in a few tokens."""
    with torch.no_grad():
        module.retain_bias.zero_()


def forget_gate(module):
    """Faulty: α read as the share to forget, 1 - σ(b)."""
    with torch.no_grad():
        module.retain_bias.neg_()


@pytest.mark.parametrize(("fault", "alive"), [(None, True), (unbiased_gate, False), (forget_gate, False)])
def test_half_life_is_live_and_true(fault, alive):
    """A difference decays to one half in the half-life that the module states, and the default one spans a segment's scale."""
    block = module(configured(form="mlp", rate_max=0.0))
    if fault is not None:
        fault(block)
    x, state = draw(1, 1, 8), {name: torch.ones_like(value) for name, value in block.initial_state(1).items()}
    with torch.no_grad():  # a constant gate, so that the half-life holds for the whole run
        block.initial["retain"][1].zero_()
        state["retain.1"].zero_()
        life = float(block.half_life(x, state))
        tokens = max(1, round(life))
        _, after = block(x.expand(1, tokens, 8), state)
    assert float(after["memory.0"].mean()) == pytest.approx(2 ** -(tokens / life), rel=1e-9)
    assert (20 < life < 80) == alive


def batch_mean_gates(block, x):
    """Faulty: one η and one α for all tokens of all rows."""
    return tuple(gate.mean().expand_as(gate) for gate in block.gates(x))


def test_gates_are_bounded_and_belong_to_their_token():
    block = module(configured(retain_min=0.25), dim=16, heads=2)
    x = 100 * draw(3, 20, 16)

    def per_token(gates) -> bool:
        return all(float(gate.detach().std(-1).min()) > 0 for gate in gates)

    rate, retain = block.gates(x)
    assert rate.shape == retain.shape == (3, 2, 20)
    for gate, low in ((rate, 0.0), (retain, 0.25)):
        assert gate.min() >= low
        assert gate.max() <= 1
    assert per_token(block.gates(x / 100))
    assert not per_token(batch_mean_gates(block, x / 100))


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
