import copy

import pytest
import torch
import torch.nn.functional as F

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.nested.hope import Attention, Hope, HopeBlock, HopeClassifier
from nlbench.nested.layers import Draws, unit
from nlbench.nested.self_referential import SelfReferentialConfig

CONFIG = SelfReferentialConfig(form="linear", chunk=2, outer_chunk=4, backend="reference")


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def block(mixer="titans", seeds=0) -> HopeBlock:
    return HopeBlock(8, 2, (1, 4), mixer=mixer, config=CONFIG, seeds=seeds).double()


def hope(mixer="titans", depth=2, cms="sequential", seeds=0) -> Hope:
    return Hope(8, 2, (1, 4), depth=depth, mixer=mixer, cms=cms, config=CONFIG, seeds=seeds).double()


def classifier(**changes) -> HopeClassifier:
    settings = {"input_dim": 12, "hidden_dim": 8, "output_dim": 3, "depth": 2, "heads": 2, "config": CONFIG} | changes
    return HopeClassifier(**settings).double()


def test_block_is_titans_then_continuum_memory_each_with_norm_and_residual():
    hope_block, x = block(), draw(1, 6, 8)
    z, _ = hope_block.convolution(hope_block.norm(x), torch.zeros(1, 3, 8).double())
    read, _ = hope_block.mixer(z)
    gated = hope_block.read_norm(read) * F.silu(hope_block.gate(z))
    assert torch.equal(hope_block(x)[0], hope_block.memory(x + hope_block.project(gated)))
    with torch.no_grad():
        hope_block.project.weight.zero_()
        for level in hope_block.memory.levels:
            level.down.weight.zero_()
    assert torch.equal(hope_block(x)[0], x)


def continuum_first(hope_block, x):
    """Faulty: the continuum memory runs before the memories it should follow."""
    z, _ = hope_block.convolution(hope_block.norm(hope_block.memory(x)), torch.zeros(1, 3, 8).double())
    read, _ = hope_block.mixer(z)
    return x + hope_block.project(hope_block.read_norm(read) * F.silu(hope_block.gate(z)))


def test_memories_see_what_the_continuum_memory_has_not_touched():
    """The state that a stream leaves behind depends on the titans' input, so not on this block's continuum memory."""
    hope_block, x = block(), draw(1, 6, 8)
    before = hope_block(x)[1]["mixer.memory.0"]
    wrong = continuum_first(hope_block, x)
    with torch.no_grad():
        hope_block.memory.levels[0].down.weight.mul_(3)
    assert torch.equal(hope_block(x)[1]["mixer.memory.0"], before)
    assert not torch.equal(continuum_first(hope_block, x), wrong)


@pytest.mark.parametrize("mixer", ["titans", "attention"])
@pytest.mark.parametrize("depth", [1, 3])
def test_calls_at_segment_boundaries_equal_one_call(mixer, depth):
    stack, x = hope(mixer, depth), draw(2, 13, 8)
    whole, end = stack(x)
    state, pieces = None, []
    for part in x.split([4, 8, 1], 1):
        y, state = stack(part, state)
        pieces.append(y)
    assert (torch.cat(pieces, 1) - whole).abs().max() < 1e-12
    assert state.keys() == end.keys()
    assert max((state[name] - end[name]).abs().max() for name in end) < 1e-12
    assert {name.split(".")[0] for name in state} == {str(i) for i in range(depth)}


@pytest.mark.parametrize("mixer", ["titans", "attention"])
def test_future_tokens_and_other_rows_leave_an_output_unchanged(mixer):
    stack, x = hope(mixer), draw(2, 12, 8)
    changed = x.clone()
    changed[0, 7:] += 1.0
    before, after = stack(x)[0], stack(changed)[0]
    assert torch.equal(after[0, :7], before[0, :7])
    assert torch.equal(after[1], before[1])
    assert (after[0, 7:] - before[0, 7:]).abs().max() > 1e-3


@pytest.mark.parametrize("mixer", ["titans", "attention"])
@pytest.mark.parametrize("cms", ["sequential", "nested", "headwise"])
def test_replicas_are_the_ordinary_modules_of_their_seeds(mixer, cms):
    many, x = hope(mixer, cms=cms, seeds=(3, 5)), draw(2, 2, 9, 8)
    y, state = many(x)
    for replica, seed in enumerate((3, 5)):
        alone, own = hope(mixer, cms=cms, seeds=seed)(x[replica])
        assert (y[replica] - alone).abs().max() < 1e-12
        assert max((state[name][replica] - own[name]).abs().max() for name in own) < 1e-12


def batch_mean_bias(hope_block, x):
    """Faulty: the memory enters the model only as its mean over the batch, without a gradient."""
    with torch.no_grad():
        bias = (hope_block.memory(x) - x).mean((0, 1))
    return x + bias


def test_the_continuum_memory_acts_on_each_token_and_gets_the_task_gradient():
    def trains(f) -> bool:
        hope_block, x = block(), draw(2, 6, 8)
        y = f(hope_block, x) * hope_block.norm.weight.sum()
        y.square().sum().backward()
        return all(level.up.weight.grad is not None for level in hope_block.memory.levels)

    assert trains(lambda hope_block, x: hope_block(x)[0])
    assert not trains(batch_mean_bias)
    x = draw(1, 2, 8)
    added = block().memory(x) - x
    assert (added[:, 0] - added[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("window", [None, 3])
def test_attention_equals_the_token_loop(window):
    attention, x = Attention(8, 2, Draws.of(0), window=window).double(), draw(1, 9, 8)
    q, k, v = attention.project(x)[0].view(9, 3, 2, 4).unbind(1)
    q, k = unit(q), unit(k)
    expected = torch.zeros(9, 2, 4).double()
    for t in range(9):
        first = 0 if window is None else max(0, t - window + 1)
        for head in range(2):
            scores = attention.log_temperature[head].exp() * k[first : t + 1, head] @ q[t, head]
            expected[t, head] = scores.softmax(0) @ v[first : t + 1, head]
    found, state = attention(x, attention.initial_state(1))
    assert (found[0] - expected.flatten(1)).abs().max() < 1e-12
    assert state["keys"].shape[-2] == (9 if window is None else window - 1)
    pieces, state = [], attention.initial_state(1)
    for part in x.split([2, 1, 6], 1):
        y, state = attention(part, state)
        pieces.append(y)
    assert (torch.cat(pieces, 1) - found).abs().max() < 1e-12


def test_classifier_has_the_shape_of_its_signature():
    model = HopeClassifier(input_dim=64, hidden_dim=128, output_dim=10, periods=(1, 4, 16), cms="nested", depth=3)
    assert model.hope.blocks[0].mixer.config.form == "linear"
    assert len(model.hope.blocks) == 3
    assert {b.memory.periods for b in model.hope.blocks} == {(16, 4, 1)}
    assert HopeClassifier(config=CONFIG)(torch.zeros(2, 64)).shape == (2, 10)
    assert HopeClassifier(config=CONFIG, seeds=(0, 1))(torch.zeros(2, 5, 64)).shape == (2, 5, 10)


@pytest.mark.parametrize("mixer", ["titans", "attention"])
@pytest.mark.parametrize("cms", ["sequential", "nested", "headwise"])
def test_gradient_reaches_every_parameter_of_the_classifier(mixer, cms):
    model = classifier(
        cms=cms, mixer=mixer, config=SelfReferentialConfig(form="mlp", chunk=1, outer_chunk=2, backend="reference")
    )
    F.cross_entropy(model(draw(6, 12)), torch.arange(6) % 3).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


def test_a_row_is_answered_alone_and_evaluation_changes_nothing():
    model, x = classifier().eval(), draw(6, 12)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    whole = model(x)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert torch.allclose(model(x[order]), whole[order], atol=1e-13)
    assert torch.allclose(torch.cat([model(row[None]) for row in x]), whole, atol=1e-13)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("seeds", "shapes"), [(0, [(12,), (5, 11), (2, 5, 12)]), ((0, 1, 2), [(3, 12), (5, 12), (2, 5, 12)])])
def test_inputs_of_another_shape_are_refused(seeds, shapes):
    """(3, 12) into three seeds would broadcast: every seed would answer the rows of all."""
    model = classifier(seeds=seeds)
    for shape in shapes:
        with pytest.raises(NlbenchError, match="inputs: must be"):
            model(draw(*shape))


def test_no_rows_have_no_logits():
    model = classifier()
    logits = model(draw(0, 12))
    logits.sum().backward()
    assert logits.shape == (0, 3)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_reading_with_and_without_gradients_and_on_a_copy_is_the_same_to_the_bit(backend):
    """Seed system 1's kernels ran under no_grad only, so training and evaluation differed."""
    model, x = classifier(config=SelfReferentialConfig(form="linear", chunk=2, outer_chunk=4, backend=backend)), draw(6, 12)
    trained = model(x)
    with torch.no_grad():
        assert torch.equal(model.eval()(x), trained)
    assert torch.equal(copy.deepcopy(model)(x), trained)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_shapes_follow_on_a_device_without_numbers_and_the_dtype_follows_the_parameters(dtype):
    model = classifier().to(dtype)
    assert model(draw(6, 12).to(dtype)).dtype == dtype
    logits = model.to("meta")(torch.empty(6, 12, dtype=dtype, device="meta"))
    assert (logits.shape, logits.device.type) == ((6, 3), "meta")


def adds_logit_gradient(model, x):
    """Faulty: the model "updates itself" by adding the gradient of its logits to its inputs."""
    leaf = x.detach().requires_grad_()
    x += torch.autograd.grad(model(leaf).sum(), leaf)[0]
    return model(x)


@pytest.mark.parametrize(("read", "right"), [(lambda model, x: model(x), True), (adds_logit_gradient, False)])
def test_inputs_are_never_written(read, right):
    x = draw(4, 12)
    read(classifier(), x)
    assert torch.equal(x, draw(4, 12)) == right


def test_wrong_sizes_and_names_are_explained():
    with pytest.raises(NlbenchError, match="tokens"):
        HopeClassifier(input_dim=10, tokens=4)
    with pytest.raises(NlbenchError, match="tokens"):
        HopeClassifier(tokens=0)
    with pytest.raises(NlbenchError, match="depth"):
        HopeClassifier(depth=0)
    with pytest.raises(NlbenchError, match="heads"):
        Attention(10, 3, Draws.of(0))
    with pytest.raises(NlbenchError, match="window"):
        Attention(8, 2, Draws.of(0), window=0)
    with pytest.raises(UnknownNameError, match="titan"):
        HopeBlock(8, 2, (1,), mixer="titan")


@pytest.mark.parametrize("mixer", ["titans", "attention"])
def test_no_tokens_answer_nothing_and_leave_a_stream_as_it_is(mixer):
    made, x = hope(mixer), draw(2, 6, 8)
    _, state = made(x)
    answers, after = made(x[:, :0], state)
    assert answers.shape == (2, 0, 8)
    assert after.keys() == state.keys()
    assert all(torch.equal(after[name], value) for name, value in state.items())
    assert made(x[:, :0])[1].keys() == state.keys()
