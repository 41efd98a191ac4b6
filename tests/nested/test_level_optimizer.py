import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nlbench.errors import NlbenchError
from nlbench.nested.continuum import ContinuumMemory, stack_levels
from nlbench.nested.hope import HopeClassifier
from nlbench.nested.level_optimizer import LevelOptimizer
from nlbench.nested.self_referential import SelfReferentialConfig


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Model(nn.Module):
    """An embedding, a continuum memory and a read-out."""

    def __init__(self, variant="sequential", periods=(1, 4, 8), seeds=0):
        super().__init__()
        self.memory = ContinuumMemory.of_blocks(6, 12, periods, variant=variant, seeds=seeds)
        self.embed, self.read = nn.Linear(6, 6), nn.Linear(6, 3)
        self.double()
        with torch.no_grad():
            for index, parameter in enumerate([*self.embed.parameters(), *self.read.parameters()]):
                parameter.copy_(draw(*parameter.shape, seed=index) / 3)

    def forward(self, x):
        return self.read(self.memory(self.embed(x)))


def adamw(parameters, period):
    return torch.optim.AdamW(parameters, lr=0.01)


def sgd(parameters, period):
    return torch.optim.SGD(parameters, lr=0.1)


def loss_at(model, step):
    return F.cross_entropy(model(draw(10, 6, seed=step)), torch.arange(10) % 3)


def train(model, optimizer, steps, first=1):
    for step in range(first, first + steps):
        optimizer.zero_grad()
        loss_at(model, step).backward()
        optimizer.step()


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def moved(before, after) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_with_all_periods_one_it_is_the_ordinary_optimizer_to_the_bit():
    ours, plain = Model(periods=(1,)), Model(periods=(1,))
    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.01)
    train(ours, LevelOptimizer(ours, adamw), 7)
    train(plain, optimizer, 7)
    assert not moved(state(ours), state(plain))


def test_parameters_without_a_gradient_stay_as_with_the_ordinary_optimizer():
    """Frozen, or not used: AdamW's weight decay must not touch them, whatever their level's period."""

    def build(periods):
        model = Model(periods=periods)
        model.spare = nn.Linear(3, 3).double()
        model.embed.requires_grad_(False)
        model.memory.levels[0].down.requires_grad_(False)
        return model

    torch.manual_seed(0)
    ours, model = build((1,)), build((1, 4))
    plain = copy.deepcopy(ours)
    train(ours, LevelOptimizer(ours, adamw), 4)
    train(plain, torch.optim.AdamW(plain.parameters(), lr=0.01), 4)
    assert not moved(state(ours), state(plain))
    before = state(model)
    train(model, LevelOptimizer(model, adamw), 8)
    still = before.keys() - moved(before, state(model))
    frozen = {"memory.levels.0.down.weight", "memory.levels.0.down.bias", "embed.weight", "embed.bias"}
    assert still == frozen | {"spare.weight", "spare.bias"}


@pytest.mark.parametrize("variant", ["sequential", "nested"])
def test_copies_of_model_and_optimizer_train_on_alike_and_apart(variant):
    model = Model(variant)
    optimizer = LevelOptimizer(model, adamw)
    train(model, optimizer, 7)
    twin, its_optimizer = copy.deepcopy((model, optimizer))
    train(model, optimizer, 9, 8)
    assert moved(state(model), state(twin))
    train(twin, its_optimizer, 9, 8)
    assert not moved(state(model), state(twin))


@pytest.mark.parametrize("restart", ["fomaml", "reptile"])
def test_a_model_cast_after_its_optimizer_was_made_still_learns_its_initial_states(restart):
    model = Model("nested").float()
    optimizer = LevelOptimizer(model, adamw, restart=restart)
    model.double()
    before = state(model)
    train(model, optimizer, 8)
    assert {name for name in before if "initial" in name} <= moved(before, state(model))


def test_a_state_of_other_periods_is_refused():
    saved = LevelOptimizer(Model(), adamw).state_dict()
    with pytest.raises(NlbenchError, match=r"periods: the state has \(1, 4, 8\), these levels \(1, 2, 4\)"):
        LevelOptimizer(Model(periods=(1, 2, 4)), adamw).load_state_dict(saved)


def test_each_level_moves_at_its_period_and_everything_else_at_every_step():
    model = Model()
    optimizer = LevelOptimizer(model, adamw)
    levels = {period: f"memory.levels.{index}." for index, period in enumerate(model.memory.periods)}
    for step in range(1, 18):
        before = state(model)
        train(model, optimizer, 1, step)
        changed = moved(before, state(model))
        for period, prefix in levels.items():
            assert any(name.startswith(prefix) for name in changed) == (step % period == 0)
        assert {"embed.weight", "read.weight"} <= changed
        assert optimizer.updates == {period: step // period for period in (1, 4, 8)}


def levels_only(model):
    """Faulty: only the memory's levels are in an optimizer; embedding and read-out stay random for ever."""
    return torch.optim.AdamW(model.memory.parameters(), lr=0.01)


@pytest.mark.parametrize(("build", "right"), [(lambda model: LevelOptimizer(model, adamw), True), (levels_only, False)])
def test_every_parameter_of_the_model_is_in_an_optimizer(build, right):
    model = Model("headwise")
    before = state(model)
    train(model, build(model), 8)
    assert ({name for name, _ in model.named_parameters()} == moved(before, state(model))) == right


def test_slow_level_takes_the_mean_gradient_of_its_chunk():
    model = Model(periods=(1, 4))
    frozen = copy.deepcopy(model)
    optimizer = LevelOptimizer(model, sgd)
    slow, total = model.memory.levels[0].up.weight, 0
    start = slow.detach().clone()
    for step in range(1, 5):
        total = total + torch.autograd.grad(loss_at(model, step), slow)[0]
        train(model, optimizer, 1, step)
    assert (slow - (start - 0.1 * total / 4)).abs().max() < 1e-13
    assert torch.equal(start, frozen.memory.levels[0].up.weight)


@pytest.mark.parametrize("variant", ["sequential", "nested", "headwise"])
@pytest.mark.parametrize("accumulate", ["grad", "update"])
def test_resume_in_the_middle_of_a_chunk_is_bit_exact(variant, accumulate, tmp_path):
    plan = {"accumulate": accumulate, "restart": "fomaml" if accumulate == "grad" else "reptile"}
    whole = Model(variant)
    optimizer = LevelOptimizer(whole, adamw, **plan)
    train(whole, optimizer, 11)
    torch.save({"model": whole.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "at11.pt")
    train(whole, optimizer, 9, 12)

    saved = torch.load(tmp_path / "at11.pt")
    resumed = Model(variant)
    fresh = LevelOptimizer(resumed, adamw, **plan)
    resumed.load_state_dict(saved["model"])
    fresh.load_state_dict(saved["optimizer"])
    train(resumed, fresh, 9, 12)
    assert not moved(state(whole), state(resumed))
    assert fresh.updates == optimizer.updates


def test_without_its_accumulators_a_resume_is_not_exact():
    whole = Model()
    optimizer = LevelOptimizer(whole, adamw)
    train(whole, optimizer, 11)
    resumed = copy.deepcopy(whole)
    train(whole, optimizer, 5, 12)
    train(resumed, LevelOptimizer(resumed, adamw), 5, 12)
    assert moved(state(whole), state(resumed))


@pytest.mark.parametrize("restart", ["fomaml", "reptile"])
def test_nested_levels_restart_and_their_initial_states_learn(restart):
    model = Model("nested")
    optimizer = LevelOptimizer(model, adamw, restart=restart)
    initial = {i: model.memory.initial_parameters(i) for i in range(3)}
    assert [len(initial[i]) > 0 for i in range(3)] == [False, True, True]
    for step in range(1, 17):
        before = {i: {n: v.clone() for n, v in initial[i].items()} for i in (1, 2)}
        train(model, optimizer, 1, step)
        for index, parent_period in ((1, 8), (2, 4)):
            parameters = model.memory.level_parameters(index)
            at_start = all(torch.equal(parameters[n], v) for n, v in initial[index].items())
            learned = any(not torch.equal(before[index][n], v) for n, v in initial[index].items())
            assert learned == (step % parent_period == 0)
            assert at_start == (step % parent_period < model.memory.periods[index])


def test_rates_follow_a_schedule_from_where_they_were_made():
    def distance(factors):
        model = Model("nested", periods=(1, 2))
        optimizer = LevelOptimizer(model, sgd)
        before = state(model)
        for factor in factors:
            optimizer.scale_rates(factor)
        train(model, optimizer, 2)
        return {name: value - before[name] for name, value in state(model).items()}

    full, half, none = distance([1.0]), distance([0.1, 0.5]), distance([0.0])
    assert all(value.abs().max() == 0 for value in none.values())
    slow = "memory.levels.0.up.weight"
    assert 0.4 < float(half[slow].norm() / full[slow].norm()) < 0.6
    assert 0 < half["memory.initial_1_up_weight"].norm() < full["memory.initial_1_up_weight"].norm()


def test_flush_applies_what_is_pending():
    model = Model()
    optimizer = LevelOptimizer(model, sgd)
    train(model, optimizer, 3)
    before = state(model)
    optimizer.flush()
    assert any(name.startswith("memory.levels.0") for name in moved(before, state(model)))
    assert optimizer.updates == {1: 3, 4: 1, 8: 1}


def test_stacked_pretrained_layers_at_rate_zero_stay_the_function_they_were():
    mlp = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 3)).double()
    for variant in ("sequential", "nested"):
        stacked = stack_levels(mlp, (4, 2, 1), variant=variant)
        train(stacked, LevelOptimizer(stacked, lambda parameters, period: torch.optim.SGD(parameters, lr=0.0)), 9)
        assert torch.equal(stacked(draw(5, 6)), mlp(draw(5, 6)))


def test_replicas_train_as_they_would_alone():
    config = SelfReferentialConfig(form="linear", chunk=1, outer_chunk=2, backend="reference")
    settings = {"input_dim": 12, "hidden_dim": 8, "output_dim": 3, "periods": (1, 2, 4), "depth": 1, "heads": 2, "config": config}
    many = HopeClassifier(seeds=(3, 5), **settings).double()
    alone = HopeClassifier(seeds=5, **settings).double()
    targets = torch.arange(10) % 3
    for model in (many, alone):
        optimizer = LevelOptimizer(model, adamw)
        for step in range(6):
            x = draw(10, 12, seed=step)
            logits = model(x.expand(2, 10, 12) if model is many else x)
            optimizer.zero_grad()
            F.cross_entropy(logits.flatten(0, -2), targets.repeat(2 if model is many else 1), reduction="sum").backward()
            optimizer.step()
    for name, value in alone.state_dict().items():
        assert (many.state_dict()[name][1] - value).abs().max() < 1e-10, name


@pytest.mark.slow
def test_digits_are_learned_by_the_ordinary_loop():
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = torch.from_numpy(digits.data / 16).float(), torch.from_numpy(digits.target)
    config = SelfReferentialConfig(form="linear", chunk=1, outer_chunk=2, backend="reference")
    model = HopeClassifier(hidden_dim=32, heads=4, depth=1, config=config)
    optimizer = LevelOptimizer(model, lambda parameters, period: torch.optim.AdamW(parameters, lr=1e-2))
    order = torch.randperm(1400, generator=torch.Generator().manual_seed(0))
    for rows in order.repeat(3).split(32):
        loss = F.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        accuracy = (model(x[1400:]).argmax(-1) == y[1400:]).float().mean()
    assert accuracy > 0.85


def test_nested_memories_of_one_model_share_their_periods():
    model = nn.ModuleList([Model("nested", (1, 4)), Model("nested", (1, 8))])
    with pytest.raises(NlbenchError, match="share"):
        LevelOptimizer(model, sgd)
