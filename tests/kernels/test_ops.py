"""Behaviour of the training-step ops that agreement between backends alone would not show."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import torch

from nlbench.kernels import batch_product
from nlbench.kernels.backends import implementation
from nlbench.kernels.block_step import BlockWeights
from nlbench.kernels.chain_step import Chain, Linear, chain_step
from nlbench.kernels.continuum_step import continuum_step
from nlbench.kernels.memory_scan import memory_scan
from nlbench.kernels.mlp_logits import mlp_logits
from nlbench.kernels.mlp_step import mlp_step, mlp_steps
from nlbench.kernels.newton_schulz import newton_schulz
from nlbench.kernels.self_referential_scan import Memories, self_referential_scan

BACKENDS = ("reference", "numba")


@pytest.mark.parametrize("backend", BACKENDS)
def test_levels_change_only_at_multiples_of_their_period_by_the_mean_of_their_gradients(backend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = [[torch.zeros(2, 5)], [torch.zeros(2, 3)]]
    gathered = [[], [torch.zeros(2, 3)]]
    total = torch.zeros(2, 3)
    for step in range(1, 8):
        gradients = [[torch.randn(2, size, generator=generator)] for size in (5, 3)]
        before = parameters[1][0].clone()
        due = continuum_step(parameters, gradients, gathered, periods=(1, 3), rates=(0.1, 0.5), step=step, backend=backend)
        total += gradients[1][0]
        assert due == (True, step % 3 == 0)
        if step % 3:
            assert torch.equal(parameters[1][0], before)
        else:
            torch.testing.assert_close(parameters[1][0], before - 0.5 * total / 3)
            assert not gathered[1][0].any()
            total.zero_()
    torch.testing.assert_close(gathered[1][0], total)  # the pending partial chunk


@pytest.mark.parametrize("backend", BACKENDS)
def test_singular_values_end_near_one(backend: str) -> None:
    matrix = torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(0))
    for tall in (matrix, matrix.mT.contiguous()):
        values = torch.linalg.svdvals(newton_schulz(tall, backend=backend))
        assert values.min() > 0.65
        assert values.max() < 1.25
    found, scaled = (newton_schulz(scale * matrix, backend=backend) for scale in (1, 100))
    torch.testing.assert_close(scaled, found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_logits_that_do_not_compete_get_no_gradient_and_no_loss(backend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    weights, biases = [torch.randn(2, 4, 3, generator=generator)], [torch.zeros(2, 4)]
    before = weights[0].clone()
    classes = torch.tensor([True, True, False, False])
    labels = torch.tensor([[0, 1], [1, 0]])
    inputs = torch.randn(2, 2, 3, generator=generator)
    loss = mlp_step(weights, biases, inputs, labels, classes, rate=0.5, backend=backend)
    assert torch.equal(weights[0][:, 2:], before[:, 2:])
    logits = (inputs @ before.mT)[..., :2]
    torch.testing.assert_close(loss, -logits.log_softmax(-1).gather(-1, labels[..., None]).mean((1, 2)))
    assert (mlp_step(weights, biases, inputs, labels, classes, rate=0.5, backend=backend) < loss).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_diverged_network_says_so(backend: str) -> None:
    weights, biases = [torch.full((1, 2, 3), float("nan"))], [torch.zeros(1, 2)]
    arguments = torch.ones(1, 4, 3), torch.zeros(1, 4, dtype=torch.int64), torch.tensor([True, True])
    assert mlp_step(weights, biases, *arguments, rate=0.1, backend=backend).isnan().all()


def test_parameters_that_cannot_change_in_place_are_refused() -> None:
    weights, biases = [torch.zeros(3, 2, 2).mT], [torch.zeros(3, 2)]
    with pytest.raises(ValueError, match="contiguous"):
        mlp_step(
            weights, biases, torch.zeros(3, 4, 2), torch.zeros(3, 4, dtype=torch.int64), torch.tensor([True, True]), rate=0.1
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gradient_goes_where_it_is_sent_and_nowhere_else(backend: str) -> None:
    draw = torch.Generator().manual_seed(0)

    def made() -> Chain:
        shapes = ((1, 6), (1, 6), (1, 8, 6), (1, 8), (1, 6, 8), (1, 6))
        block = BlockWeights(*(torch.randn(shape, generator=draw) for shape in shapes))
        weights, biases = (
            [torch.randn(1, *shape, generator=draw) for shape in shapes] for shapes in (((6, 5), (3, 6)), ((6,), (3,)))
        )
        first, last = map(Linear, weights, biases)
        return Chain(first, (block,), last)

    chain, inputs, labels = made(), torch.randn(1, 4, 5, generator=draw), torch.tensor([[0, 1, 2, 0]])
    before = [each.clone() for each in chain.tensors()]
    assert chain.embedding
    first, block, last = (map(torch.zeros_like, part) for part in (chain.embedding, chain.blocks[0], chain.readout))
    gathered = Chain(Linear(*first), (BlockWeights(*block),), Linear(*last))
    classes = torch.tensor([True] * 3)
    loss = chain_step(chain, gathered, [1.0], inputs, labels, classes, backend=backend)
    assert all(torch.equal(one, other) for one, other in zip(chain.tensors(), before, strict=True))
    assert all(each.any() for each in gathered.tensors())
    again = chain_step(chain, chain, [-0.05], inputs, labels, classes, backend=backend)
    assert torch.equal(again, loss)
    for now, then, gradient in zip(chain.tensors(), before, gathered.tensors(), strict=True):
        torch.testing.assert_close(now, then - 0.05 * gradient)
    assert chain_step(chain, chain, [-0.05], inputs, labels, classes, backend=backend) < loss


def test_a_chain_of_unequal_blocks_is_refused() -> None:
    one, row = torch.zeros(1, 1, 1), torch.zeros(1, 1)
    narrow = BlockWeights(row, row, one, row, one, row)
    wide = BlockWeights(row, row, torch.zeros(1, 2, 1), torch.zeros(1, 2), torch.zeros(1, 1, 2), row)
    chain = Chain(Linear(one, row), (narrow, wide), Linear(one, row))
    with pytest.raises(ValueError, match="same shapes"):
        chain_step(chain, chain, [1.0, 1.0], one, torch.zeros(1, 1, dtype=torch.int64), torch.tensor([True]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_samples_shown_to_all_seeds_give_the_logits_of_copies(backend: str) -> None:
    draw = torch.Generator().manual_seed(0)
    weights = [torch.randn(3, d_out, d_in, generator=draw) for d_in, d_out in ((9, 6), (6, 4))]
    biases = [torch.randn(3, 6, generator=draw), torch.randn(3, 4, generator=draw)]
    shared = torch.randn(1, 70, 9, generator=draw)
    found = mlp_logits(weights, biases, shared, backend=backend)
    assert torch.equal(found, mlp_logits(weights, biases, shared.expand(3, -1, -1), backend=backend))
    hidden = (shared[0] @ weights[0][2].T + biases[0][2]).clamp_min(0)
    torch.testing.assert_close(found[2], hidden @ weights[1][2].T + biases[1][2])
    with pytest.raises(ValueError, match="do not fit inputs"):
        mlp_logits(weights, biases, shared.expand(2, -1, -1), backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_biases_in_the_last_column_of_the_weights_give_the_logits_of_copies(backend: str) -> None:
    draw = torch.Generator().manual_seed(0)
    both = [torch.randn(3, d_out, d_in + 1, generator=draw) for d_in, d_out in ((9, 6), (6, 4))]
    weights, biases, inputs = (
        [each[..., :-1] for each in both],
        [each[..., -1] for each in both],
        torch.randn(3, 70, 9, generator=draw),
    )
    copies = [[each.clone(memory_format=torch.contiguous_format) for each in kind] for kind in (weights, biases)]
    found = mlp_logits(weights, biases, inputs, backend=backend)
    torch.testing.assert_close(found, mlp_logits(*copies, inputs, backend=backend), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("rows", [1, 3])
def test_parameters_may_lie_anyhow(seeds: int, rows: int) -> None:
    draw = torch.Generator().manual_seed(0)
    inputs, bias = torch.randn(seeds, 7, 5, generator=draw), torch.randn(seeds, rows, generator=draw)
    numbers = torch.randn(200, generator=draw)
    for strides in ((0, 0, 1), (rows * 5, 5, 1), (5, 5 * seeds, 1), (1, 1, 1), (40, 8, 1), (6, 2, 1), (50, 10, 2), (3, 1, 3)):
        weight = numbers.as_strided((seeds, rows, 5), strides)
        found = mlp_logits([weight], [bias], inputs, backend="numba")
        torch.testing.assert_close(found, inputs @ weight.mT + bias[:, None])
    weight = torch.randn(seeds, rows, 5, generator=draw)
    for strides in ((0, 0), (1, seeds), (0, 1), (1, 0), (7, 2)):
        bias = numbers.as_strided((seeds, rows), strides)
        torch.testing.assert_close(mlp_logits([weight], [bias], inputs, backend="numba"), inputs @ weight.mT + bias[:, None])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("widths", [(9, 6, 4), (300, 300, 300, 4)])
@pytest.mark.parametrize(("backend", "threads"), [("reference", 1), ("numba", 1), ("numba", 2)])
def test_many_steps_at_once_are_the_steps_one_by_one_to_the_bit(
    backend: str, threads: int, widths: tuple[int, ...], momentum: float, torch_threads: Callable[[int], None]
) -> None:
    """The wider network is shared out by blocks of samples and rows, as three seeds do not share two threads evenly."""
    torch_threads(threads)
    draw = torch.Generator().manual_seed(0)
    data, rows = torch.randn(50, widths[0], generator=draw), torch.randint(50, (3, 190), generator=draw)
    labels, classes = torch.randint(3, rows.shape, generator=draw), torch.tensor([True, True, True, False])
    shapes = [(3, d_out, d_in) for d_in, d_out in pairwise(widths)]
    made = [torch.randn(shape, generator=draw) / shape[2] ** 0.5 for shape in shapes]
    states = []
    for at_once in (True, False):
        weights, biases = [each.clone() for each in made], [torch.zeros(shape[:2]) for shape in shapes]
        velocities = [[torch.zeros_like(each) for each in kind] if momentum else [] for kind in (weights, biases)]
        given = {"rate": 0.1, "momentum": momentum, "weight_velocities": velocities[0], "bias_velocities": velocities[1]}
        if at_once:
            losses = mlp_steps(weights, biases, data, rows, labels, classes, batch=40, **given, backend=backend)
        else:
            shown = zip(rows.split(40, 1), labels.split(40, 1), strict=True)
            steps = [mlp_step(weights, biases, data[row], own, classes, **given, backend=backend) for row, own in shown]
            losses = torch.stack(steps, 1)
        states.append([losses, *weights, *biases, *velocities[0], *velocities[1]])
    assert states[0][0].shape == (3, 5)
    assert all(torch.equal(one, other) for one, other in zip(*states, strict=True))


@pytest.fixture
def torch_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_may_be_larger_than_what_there_is_and_nothing_is_no_step(backend: str) -> None:
    weights, biases, data = [torch.zeros(1, 2, 3)], [torch.zeros(1, 2)], torch.ones(4, 3)
    rows, classes = torch.tensor([[0, 3]]), torch.tensor([True, True])
    for shown, steps in ((rows, 1), (rows[:, :0], 0)):
        found = mlp_steps(weights, biases, data, shown, shown % 2, classes, batch=10**9, rate=0.1, backend=backend)
        assert found.shape == (1, steps)
    with pytest.raises(ValueError, match="or are none"):
        mlp_step(weights, biases, data[None, :0], rows[:, :0], classes, rate=0.1, backend=backend)


def test_labels_that_no_logit_has_are_refused() -> None:
    weights, biases = [torch.zeros(1, 2, 3)], [torch.zeros(1, 2)]
    for label in (-1, 2):
        with pytest.raises(ValueError, match="labels must be 0 to 1"):
            mlp_step(
                weights,
                biases,
                torch.ones(1, 1, 3),
                torch.tensor([[label]]),
                torch.tensor([True, True]),
                rate=0.1,
                backend="numba",
            )


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_that_the_data_lack_are_refused(backend: str) -> None:
    weights, biases, data = [torch.zeros(1, 2, 3)], [torch.zeros(1, 2)], torch.zeros(4, 3)
    for row in (-1, 4):
        rows = torch.tensor([[0, row]])
        with pytest.raises(ValueError, match="rows must be 0 to 3"):
            mlp_steps(
                weights,
                biases,
                data,
                rows,
                torch.zeros_like(rows),
                torch.tensor([True, True]),
                batch=2,
                rate=0.1,
                backend="numba",
            )


def test_a_seeds_product_does_not_depend_on_the_others() -> None:
    draw = torch.Generator().manual_seed(0)
    keys, errors, matrix = (torch.randn(shape, generator=draw) for shape in ((3, 20, 70), (3, 20, 900), (3, 900, 70)))
    whole, one = (batch_product.factor(each, backend="numba") for each in (matrix, matrix[1:2]))
    assert torch.equal(whole.answer(keys)[1:2], one.answer(keys[1:2]))
    assert torch.equal(whole.below(errors)[1:2], one.below(errors[1:2]))
    assert whole.answer(keys[:, :0]).shape == (3, 0, 900)
    with pytest.raises(ValueError, match="must be contiguous"):
        batch_product.factor(matrix[..., ::2])


@pytest.mark.parametrize("backend", [*BACKENDS, *(["triton"] if torch.cuda.is_available() else [])])
@pytest.mark.parametrize("chunk", [4, 2], ids=["one-clock", "two-clocks"])
def test_no_tokens_leave_memories_as_they_are(chunk: int, backend: str) -> None:
    device = "cuda" if backend == "triton" else "cpu"

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=device).requires_grad_()

    x, square, gate = draw(1, 2, 0, 4), (1, 2, 4, 4), (1, 2, 4)
    memories = Memories(draw(*square), draw(*square), draw(*gate), draw(*gate), draw(*square))
    biases = draw(1, 2), draw(1, 2)
    after, outputs = self_referential_scan(x, x, memories, *biases, chunk=chunk, outer_chunk=4, rate_max=0.1, backend=backend)
    gradients = torch.autograd.grad(list(after), list(memories), [torch.ones_like(each) for each in after])
    assert outputs.shape == x.shape
    assert all(torch.equal(new, old) for new, old in zip(after, memories, strict=True))
    assert all(torch.equal(each, torch.ones_like(each)) for each in gradients)


@pytest.mark.parametrize("backend", [*BACKENDS, *(["triton"] if torch.cuda.is_available() else [])])
@pytest.mark.parametrize("momentum", [False, True], ids=["plain", "momentum"])
def test_a_scan_of_no_tokens_leaves_memory_and_velocity_as_they_are(momentum: bool, backend: str) -> None:
    device = "cuda" if backend == "triton" else "cpu"
    memory, velocity = torch.randn(2, 1, 2, 3, 4, device=device)
    nothing, gate = torch.zeros(1, 2, 0, 4, device=device), torch.zeros(1, 2, 0, device=device)
    moving = {"momentum": gate, "velocity": velocity} if momentum else {}
    found = memory_scan(memory, nothing, nothing[..., :3], gate, gate, chunk=2, queries=nothing, backend=backend, **moving)
    assert torch.equal(found.memory, memory)
    assert found.outputs is not None
    assert found.outputs.shape == (1, 2, 0, 3)
    assert found.velocity is None or torch.equal(found.velocity, velocity)
    assert (found.velocity is not None) is momentum


def test_a_scan_without_gradients_keeps_nothing_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    module, kept = implementation("nlbench.kernels.self_referential_scan", "numba", torch.zeros(1)), []
    empty = module.empty
    monkeypatch.setattr(module, "empty", lambda shape, like: kept.append(math.prod(shape)) or empty(shape, like))
    x = torch.randn(1, 1, 400, 8)
    memories = Memories(*(0.3 * torch.randn(shape) for shape in [(1, 1, 8, 8)] * 2 + [(1, 1, 8)] * 2 + [(1, 1, 8, 8)]))
    options = {"chunk": 4, "outer_chunk": 4, "rate_max": 0.1, "backend": "numba"}
    gates = torch.zeros(1, 1), torch.zeros(1, 1)
    plain, outputs = self_referential_scan(x, x, memories, *gates, **options)
    without, few = sum(kept), x.numel() * 2
    leaves = Memories(*(each.requires_grad_() for each in memories))
    differentiable, same = self_referential_scan(x, x, leaves, *gates, **options)
    assert without < few < sum(kept) - without
    assert torch.equal(outputs, same)
    assert all(torch.equal(a, b) for a, b in zip(plain, differentiable, strict=True))
