"""Four thousand tokens at the default gates: the memories stay alive and bounded, and the known ways to lose them do."""

import math

import pytest
import torch

from nlbench.nested.self_referential import SelfReferential, SelfReferentialConfig, half_life

TOKENS, WIDTH = 4096, 16


def streams(tokens: int = TOKENS) -> torch.Tensor:
    """Clustered, repeated and random inputs, one stream each."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    clusters = normal(4, WIDTH)[torch.randint(0, 4, (tokens,), generator=generator)] + 0.1 * normal(tokens, WIDTH)
    return torch.stack([clusters, normal(1, WIDTH).expand(tokens, WIDTH), normal(tokens, WIDTH)])


@torch.no_grad()
def norm_ratios(drift: float = 0.0, tokens: int = TOKENS, **changes) -> dict[str, torch.Tensor]:
    """Each matrix's norm after the streams over its initial one, (3,). `drift`: that share of its mean is added every segment."""
    block = SelfReferential(WIDTH, 1, SelfReferentialConfig(backend="reference", **changes)).double()
    state = block.initial_state(3)
    learned = {f"{name}.{i}": p[0] for name in block.config.names for i, p in enumerate(block.initial[name])}
    for part in streams(tokens).split(tokens if not drift else 64, 1):
        _, state = block(part, state)
        state |= {name: state[name] + drift * (start + state[name]).mean(-2, keepdim=True) for name, start in learned.items()}
    return {name: (state[name][:, 0] + start).flatten(1).norm(dim=1) / start.norm() for name, start in learned.items()}


def alive_and_bounded(ratios) -> bool:
    values = torch.cat(list(ratios.values()))
    return bool((values.isfinite() & (values >= 0.1) & (values <= 20)).all())


@pytest.mark.parametrize("objective", ["l2", "dot"])
@pytest.mark.parametrize(("chunk", "outer_chunk"), [(16, 64), (64, 64)])
@pytest.mark.parametrize("form", ["mlp", "linear"])
def test_every_memory_stays_within_a_twentyfold_of_its_initial_norm(form, chunk, outer_chunk, objective):
    assert alive_and_bounded(norm_ratios(form=form, chunk=chunk, outer_chunk=outer_chunk, objective=objective))


@pytest.mark.slow
def test_the_same_at_chunk_one():
    assert alive_and_bounded(norm_ratios(chunk=1, outer_chunk=64))


@pytest.mark.parametrize("objective", ["l2", "dot"])
def test_a_thousand_tokens_keep_every_memory_within_a_tenfold(objective):
    ratios = torch.cat(list(norm_ratios(tokens=1024, objective=objective).values()))
    assert bool(((ratios >= 0.1) & (ratios <= 10)).all())


def test_the_same_with_momentum_and_exact_reads():
    assert alive_and_bounded(norm_ratios(momentum=0.9, read="exact"))


def test_zero_retention_is_an_option_that_forgets():
    assert max(ratio.max() for ratio in norm_ratios(form="linear", retention="zero").values()) < 1e-6


@pytest.mark.parametrize(
    "fault",
    [
        {"normalize_values": False, "target_clip": None, "rate_max": 1.0},
        {"drift": 0.2, "retain_bias": 20.0},
    ],
    ids=["values of any length feed back into their own targets", "the output is also added to the weights"],
)
def test_faulty_variants_explode(fault):
    assert not alive_and_bounded(norm_ratios(form="linear", **fault))


def test_memories_that_never_forget_stay_bounded_too():
    assert alive_and_bounded(norm_ratios(form="linear", retain_bias=20.0))


def test_unbiased_gates_with_zero_retention_die_within_a_segment():
    """σ(·) without a bias keeps half a token: the block is the identity before its first segment ends."""
    assert not alive_and_bounded(norm_ratios(form="linear", tokens=64, retention="zero", retain_bias=0.0))
    assert alive_and_bounded(norm_ratios(form="linear", tokens=64, retention="zero"))


def test_default_half_life_value():
    assert float(half_life(torch.sigmoid(torch.tensor(4.0, dtype=torch.float64)))) == pytest.approx(
        math.log(2) / math.log(1 + math.exp(-4)), rel=1e-6
    )
    assert math.isinf(float(half_life(torch.ones(()))))


def test_printing_a_module_shows_its_half_life():
    assert "retention to zero, half-life 38.2 tokens" in str(SelfReferential(8, 1, SelfReferentialConfig(retention="zero")))
    assert "retention to init, half-life 280.0 tokens" in str(SelfReferential(8, 1, SelfReferentialConfig(retain_bias=6.0)))
