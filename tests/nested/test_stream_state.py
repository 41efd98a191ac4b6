import pytest
import torch
from torch import nn

from nlbench.errors import NlbenchError
from nlbench.nested.hope import Hope
from nlbench.nested.self_referential import SelfReferentialConfig
from nlbench.nested.stream_state import StreamState


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cell() -> nn.LSTMCell:
    lstm = nn.LSTMCell(3, 4).double()
    with torch.no_grad():
        for index, parameter in enumerate(lstm.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=index))
    return lstm


def lstm_state() -> StreamState:
    return StreamState(lambda rows: {"h": torch.zeros(rows, 4).double(), "c": torch.zeros(rows, 4).double()})


class PaddedState:
    """Faulty: one state by position, zero-padded or cut when the batch changes size."""

    def __init__(self):
        self.state = {"h": torch.zeros(0, 4).double(), "c": torch.zeros(0, 4).double()}

    def gather(self, streams):
        pad = {n: torch.zeros(max(0, len(streams) - len(v)), 4).double() for n, v in self.state.items()}
        return {n: torch.cat([v, pad[n]])[: len(streams)] for n, v in self.state.items()}

    def carry(self, streams, state):
        self.state = state


BATCHES = [("a", "b", "c"), ("c", "a"), ("b",), ("c", "d", "b")]


def outputs_by_stream(memory) -> dict[str, torch.Tensor]:
    lstm, outputs, seen = cell(), {}, {}
    for streams in BATCHES:
        tokens = [draw(20, 3, seed=ord(stream))[seen.get(stream, 0)] for stream in streams]
        seen |= {stream: seen.get(stream, 0) + 1 for stream in streams}
        state = memory.gather(streams)
        h, c = lstm(torch.stack(tokens), (state["h"], state["c"]))
        memory.carry(streams, {"h": h, "c": c})
        outputs |= {stream: torch.cat([outputs.get(stream, h[:0]), h[i : i + 1]]) for i, stream in enumerate(streams)}
    return outputs


def alone(stream: str, length: int) -> torch.Tensor:
    lstm, h, c, outputs = cell(), torch.zeros(1, 4).double(), torch.zeros(1, 4).double(), []
    for token in draw(20, 3, seed=ord(stream))[:length]:
        h, c = lstm(token[None], (h, c))
        outputs.append(h)
    return torch.cat(outputs)


@pytest.mark.parametrize(("memory", "right"), [(lstm_state(), True), (PaddedState(), False)])
def test_streams_never_mix_whatever_batches_they_come_in(memory, right):
    found = outputs_by_stream(memory)
    agree = [torch.allclose(value, alone(stream, len(value)), atol=1e-14) for stream, value in found.items()]
    assert all(agree) == right


def test_carry_keeps_the_gradient_and_detach_cuts_it():
    memory, x = lstm_state(), draw(1, 3).requires_grad_()
    lstm = cell()

    def step(token):
        state = memory.gather(["a"])
        h, c = lstm(token, (state["h"], state["c"]))
        memory.carry(["a"], {"h": h, "c": c})
        return h

    step(x)
    assert torch.autograd.grad(step(draw(1, 3, seed=1)).sum(), x, retain_graph=True)[0].abs().max() > 0
    memory.detach()
    assert torch.autograd.grad(step(draw(1, 3, seed=2)).sum(), x, allow_unused=True) == (None,)


class CountingReset(StreamState):
    """Seed system 1: `reset` clears a counter, and the memory stays."""

    def reset(self, streams=None):
        self.steps = 0


@pytest.mark.parametrize(("kind", "right"), [(StreamState, True), (CountingReset, False)])
def test_a_stream_starts_fresh_after_its_reset(kind, right):
    memory = kind(lstm_state().fresh)
    memory.carry(["a"], {"h": torch.ones(1, 4), "c": torch.ones(1, 4)})
    memory.reset()
    assert (memory.gather(["a"])["h"].abs().max() == 0) == right


def test_reset_forgets_the_named_streams_only():
    memory = lstm_state()
    memory.carry(["a", "b"], {"h": torch.ones(2, 4), "c": torch.ones(2, 4)})
    memory.reset(["a"])
    assert set(memory.rows) == {"b"}
    assert memory.gather(["a"])["h"].abs().max() == 0
    memory.reset()
    assert memory.rows == {}


def test_a_batch_of_no_streams_is_a_state_of_no_rows():
    memory = lstm_state()
    state = memory.gather([])
    assert {name: tuple(value.shape) for name, value in state.items()} == {"h": (0, 4), "c": (0, 4)}
    memory.carry([], state)
    assert memory.rows == {}


def test_clone_is_independent_and_gather_changes_nothing():
    memory = lstm_state()
    memory.carry(["a"], {"h": torch.ones(1, 4), "c": torch.ones(1, 4)})
    copy = memory.clone()
    copy.carry(["a"], {"h": torch.zeros(1, 4), "c": torch.zeros(1, 4)})
    copy.gather(["new"])
    assert memory.gather(["a"])["h"].min() == 1
    memory.gather(["z"])
    assert set(memory.rows) == {"a"}


def test_state_saves_and_loads_through_a_file(tmp_path):
    memory = lstm_state()
    memory.carry(["a", "b"], {"h": draw(2, 4), "c": draw(2, 4, seed=1)})
    torch.save(memory.state_dict(), tmp_path / "state.pt")
    other = lstm_state()
    other.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert all(torch.equal(other.gather(["b", "a"])[name], memory.gather(["b", "a"])[name]) for name in ("h", "c"))


def test_rows_are_neither_padded_nor_cut_nor_doubled():
    memory = lstm_state()
    with pytest.raises(NlbenchError, match="3 streams"):
        memory.carry(["a", "b", "c"], {"h": torch.zeros(2, 4), "c": torch.zeros(2, 4)})
    with pytest.raises(NlbenchError, match="once"):
        memory.gather(["a", "a"])


@pytest.mark.parametrize(("seeds", "axis"), [(0, 0), ((0, 1), 1)])
def test_hope_streams_continue_where_they_stopped(seeds, axis):
    config = SelfReferentialConfig(form="linear", chunk=2, outer_chunk=4, momentum=0.5, backend="reference")
    hope = Hope(8, 2, (1, 4), depth=2, config=config, seeds=seeds).double()
    x = draw(*((2,) if axis else ()), 2, 16, 8)
    whole, _ = hope(x)
    memory = StreamState(hope.initial_state, axis=axis)
    a, b = x.split(1, axis)
    for token in (0, 8):  # stream b runs behind stream a and then together with it
        y, state = hope(a[..., token : token + 8, :], memory.gather(["a"]))
        memory.carry(["a"], state)
    assert torch.allclose(y, whole.split(1, axis)[0][..., 8:, :], atol=1e-12)
    _, state = hope(b[..., :8, :], memory.gather(["b"]))
    memory.carry(["b"], state)
    y, _ = hope(b[..., 8:, :], memory.clone().gather(["b"]))
    assert torch.allclose(y, whole.split(1, axis)[1][..., 8:, :], atol=1e-12)
