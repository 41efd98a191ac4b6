"""What the answers of self-referential Titans depend on: no later token, no other row, head or replica, and the state alone."""

import pytest
import torch
from token_loop import NAMES, configured, draw, module


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
