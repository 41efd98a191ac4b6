"""Closed forms 1-9 of the chunked update, checked in float64 on the package's own functions against token loops."""

import itertools

import pytest
import torch
from kernels.token_loops import self_referential_loop
from torch import Tensor

from nlbench.kernels.memory_scan import memory_scan
from nlbench.kernels.memory_scan.tokens import scan_tokens
from nlbench.kernels.self_referential_scan import Memories, self_referential_scan

SEEDS, HEADS, TOKENS, CHUNK, D_VALUE, D_KEY = 2, 3, 37, 8, 5, 6


class Draw:
    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator, dtype=torch.float64)

    def scan_inputs(self) -> dict[str, Tensor]:
        tokens = (SEEDS, HEADS, TOKENS)
        retain = self.uniform(*tokens) * 0.3 + 0.7
        retain[0, 0, 3], retain[0, 1, 4], retain[0, 2, 9], retain[1, 0, :5] = 0.0, 1e-30, 1e-12, 1.0
        rate = self.uniform(*tokens) * 0.9 + 0.05
        rate[0, 0, 5], rate[0, 0, 6] = 0.0, 1.0
        return {
            "memory": self.normal(SEEDS, HEADS, D_VALUE, D_KEY),
            "keys": torch.nn.functional.normalize(self.normal(*tokens, D_KEY), dim=-1),
            "targets": self.normal(*tokens, D_VALUE),
            "rate": rate,
            "retain": retain,
            "queries": self.normal(*tokens, D_KEY),
        }

    def memories(self, width: int) -> Memories:
        square = (SEEDS, HEADS, width, width)
        keys, values, memory = (self.normal(*square) * 0.2 for _ in range(3))
        rate, retain = (self.normal(*square[:-1]) * 0.2 for _ in range(2))
        return Memories(keys, values, rate, retain, memory)


def outputs_and_gradients(function, leaves: list[Tensor], draw: Draw) -> list[Tensor]:
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    results = [each for each in function(leaves) if each is not None]
    loss = sum((result * draw.normal(*result.shape)).sum() for result in results)
    return [result.detach() for result in results] + list(torch.autograd.grad(loss, leaves))


def assert_equal(got: list[Tensor], wanted: list[Tensor]) -> None:
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12 * max(1.0, float(other.abs().max())))


SCANS = list(itertools.product(("given", "minus_prediction", "self_generated"), ("stale", "exact"), (False, True), (False, True)))


@pytest.mark.parametrize(("residual", "read", "with_momentum", "to_initial"), SCANS)
def test_chunks_equal_tokens_one_by_one(residual: str, read: str, with_momentum: bool, to_initial: bool) -> None:
    draw = Draw(1)
    tensors = draw.scan_inputs()
    if residual == "self_generated":
        tensors["values"] = draw.normal(SEEDS, HEADS, TOKENS, D_KEY) * 0.3
    if with_momentum:
        tensors["momentum"] = draw.uniform(SEEDS, HEADS, TOKENS)
        tensors["velocity"] = draw.normal(SEEDS, HEADS, D_VALUE, D_KEY)
    if to_initial:
        tensors["initial"] = draw.normal(SEEDS, HEADS, D_VALUE, D_KEY)

    def run(scan):
        def call(leaves):
            return scan(**dict(zip(tensors, leaves, strict=True)), chunk=CHUNK, residual=residual, read=read)

        return outputs_and_gradients(call, list(tensors.values()), Draw(2))

    def reference(**arguments):
        return memory_scan(**arguments, backend="reference")

    assert_equal(run(reference), run(scan_tokens))


@pytest.mark.slow  # it compiles the kernels once more, in float64; in float32 `test_backends_agree` judges gradients of all cases
@pytest.mark.parametrize("residual", ["given", "minus_prediction", "self_generated"])
@pytest.mark.parametrize(("read", "with_momentum"), [("stale", False), ("exact", True)])
def test_the_hand_written_backward_is_autograds(residual: str, read: str, with_momentum: bool) -> None:
    draw = Draw(1)
    tensors = draw.scan_inputs()
    if residual == "self_generated":
        tensors["values"] = draw.normal(SEEDS, HEADS, TOKENS, D_KEY) * 0.3
    if with_momentum:
        tensors["momentum"] = draw.uniform(SEEDS, HEADS, TOKENS)
        tensors["velocity"] = draw.normal(SEEDS, HEADS, D_VALUE, D_KEY)

    def run(backend):
        def call(leaves):
            return memory_scan(
                **dict(zip(tensors, leaves, strict=True)), chunk=CHUNK, residual=residual, read=read, backend=backend
            )

        return outputs_and_gradients(call, list(tensors.values()), Draw(2))

    assert_equal(run("numba"), run("reference"))


def own_writes(**changes) -> Tensor:
    tensors = {name: each for name, each in Draw(1).scan_inputs().items() if name != "queries"}
    return memory_scan(**{**tensors, "chunk": CHUNK, "backend": "reference", **changes}).memory


def test_l2_chunks_are_the_gated_delta_rule_with_other_rates_and_values() -> None:
    """S = α S (I - β k kᵀ) + β v' kᵀ with β = η/α and v' = α (v̂ - M_c k)."""
    tensors = Draw(1).scan_inputs()
    retain = tensors["retain"].clamp_min(0.7)  # the published rule divides by it
    state = tensors["memory"].clone()
    for t in range(TOKENS):
        if t % CHUNK == 0:
            start = state
        k, eta, alpha = tensors["keys"][:, :, t, :, None], *(each[:, :, t, None, None] for each in (tensors["rate"], retain))
        state, value = alpha * state, alpha * (tensors["targets"][:, :, t, :, None] - start @ k)
        state = state - eta / alpha * (state @ k - value) @ k.mT
    assert_equal([own_writes(retain=retain, residual="minus_prediction")], [state])


def test_fresh_gradients_are_twice_the_rate_towards_half_the_value() -> None:
    """M = M(αI - η k kᵀ) - η (M k - v̂) kᵀ, the state of the token before in both terms: an L2 memory under DGD erases twice."""
    tensors = Draw(1).scan_inputs()
    state, rate = tensors["memory"].clone(), tensors["rate"] / 2
    for t in range(TOKENS):
        k, v = tensors["keys"][:, :, t, :, None], tensors["targets"][:, :, t, :, None]
        eta, alpha = (each[:, :, t, None, None] for each in (rate, tensors["retain"]))
        state = alpha * state - eta * (state @ k) @ k.mT - eta * (state @ k - v) @ k.mT
    assert_equal([own_writes(rate=2 * rate, targets=tensors["targets"] / 2)], [state])


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("chunk", [1, 4, 16, 64])
def test_a_repeated_key_keeps_a_known_share_of_its_value(rate: float, chunk: int) -> None:
    """Over one chunk 2ρ - 1 of it under L2 with its chunk-start gradient, ρ = (1 - η)^C under dot."""
    tokens = (1, 1, chunk)
    key = torch.eye(4, dtype=torch.float64)[:1].expand(*tokens, -1)
    nothing = torch.zeros(*tokens, 1, dtype=torch.float64)
    memory = torch.ones(1, 1, 1, 4, dtype=torch.float64)
    rates, keep = torch.full(tokens, rate, dtype=torch.float64), torch.ones(tokens, dtype=torch.float64)
    for residual, share in (("minus_prediction", 2 * (1 - rate) ** chunk - 1), ("given", (1 - rate) ** chunk)):
        scan = memory_scan(memory, key, nothing, rates, keep, chunk=chunk, residual=residual, backend="reference")
        assert float(scan.memory[..., 0]) == pytest.approx(share, abs=1e-12)
        assert bool((scan.memory[..., 1:] == 1).all())


SELF_REFERENTIAL = list(
    itertools.product(("l2", "dot"), ("stale", "exact"), (False, True), ((4, 8), (8, 8), (1, 1), (64, 64)), (True, False))
)


@pytest.mark.parametrize(("objective", "read", "to_initial", "chunks", "normalize_values"), SELF_REFERENTIAL)
def test_one_solve_serves_all_memories(
    objective: str, read: str, to_initial: bool, chunks: tuple[int, int], normalize_values: bool
) -> None:
    draw, width = Draw(3), 6
    leaves = [draw.normal(SEEDS, HEADS, 21, width), draw.normal(SEEDS, HEADS, 21, width), *draw.memories(width)]
    leaves += [draw.normal(SEEDS, HEADS), draw.normal(SEEDS, HEADS) + 3]
    leaves += draw.memories(width) if to_initial else []

    def run(scan, **backend):
        def call(leaves):
            x, q, memories, b_rate, b_retain, home = (
                leaves[0],
                leaves[1],
                Memories(*leaves[2:7]),
                leaves[7],
                leaves[8],
                leaves[9:],
            )
            options = {"objective": objective, "read": read, "normalize_values": normalize_values}
            states, outputs = scan(
                x,
                q,
                memories,
                b_rate,
                b_retain,
                chunk=chunks[0],
                outer_chunk=chunks[1],
                rate_max=0.1,
                outer_rate_max=0.05 if to_initial else None,
                retain_min=0.1,
                initial=Memories(*home) if to_initial else None,
                **options,
                **backend,
            )
            return [*states, outputs]

        return outputs_and_gradients(call, leaves, Draw(4))

    assert_equal(run(self_referential_scan, backend="reference"), run(self_referential_loop))


@pytest.mark.parametrize("to_initial", [False, True])
@pytest.mark.parametrize("objective", ["l2", "dot"])
def test_clipped_targets_are_those_of_the_token_loop(objective: str, to_initial: bool) -> None:
    draw, width = Draw(5), 6
    leaves = [draw.normal(SEEDS, HEADS, 21, width), draw.normal(SEEDS, HEADS, 21, width), *draw.memories(width)]
    leaves += [draw.normal(SEEDS, HEADS), draw.normal(SEEDS, HEADS) + 3, *(draw.memories(width) if to_initial else [])]

    def run(scan, **backend):
        def call(leaves):
            home = Memories(*leaves[9:]) if to_initial else None
            given = leaves[0], leaves[1], Memories(*leaves[2:7]), *leaves[7:9]
            options = {"chunk": 8, "outer_chunk": 8, "rate_max": 0.1, "objective": objective, "initial": home, "target_clip": 0.9}
            states, outputs = scan(*given, **options, **backend)
            return [*states, outputs]

        return outputs_and_gradients(call, leaves, Draw(4))

    assert_equal(run(self_referential_scan, backend="reference"), run(self_referential_loop))
