from __future__ import annotations

import numpy as np
import torch
from numpy_mlp import HIDDEN, INPUTS, SEEDS, agree, answers, batches, gradient, learned, learner, shown, weights
from small_streams import CPU

from nlbench import Batch, Problem, seeds
from nlbench.learners.plasticity.config import ContinualBackpropConfig
from nlbench.learners.plasticity.continual_backprop import ContinualBackprop

RATE, DECAY, REPLACED, MATURITY = 0.2, 0.8, 0.07, 3
CONFIG = {"decay": DECAY, "replaced": REPLACED, "maturity": MATURITY}


def test_three_tasks_are_learned_as_the_algorithm_says() -> None:
    fresh, made = learner("continual-backprop", **CONFIG), learned(learner("continual-backprop", **CONFIG))
    for seed in range(len(SEEDS)):
        p = weights(fresh, seed)
        spread = p["layer0.weight"].std(ddof=1)
        use, age, due, count = np.zeros(HIDDEN), np.zeros(HIDDEN), 0.0, 0
        for task in (1, 2, 3):
            for x, y, classes in shown(task, seed):
                hidden, _ = answers(p, x)
                g = gradient(p, x, y, classes)
                p = {n: v - RATE * g[n] for n, v in p.items()}
                use = DECAY * use + (1 - DECAY) * hidden.mean(0) * np.abs(p["head.weight"]).sum(0)
                age += 1
                mature = age > MATURITY
                due += REPLACED * mature.sum()
                while due >= 1:
                    due, count = due - 1, count + 1
                    unit = np.where(mature, use, np.inf).argmin()
                    drawn = spread * seeds.uniform(SEEDS, f"learner/unit/layer0/{count}", (INPUTS + 1,), 3**0.5)[seed]
                    p["layer0.weight"][unit], p["layer0.bias"][unit] = drawn[:-1], drawn[-1]
                    p["head.weight"][:, unit] = 0.0
                    use[unit], age[unit], mature = 0.0, 0, mature & (np.arange(HIDDEN) != unit)
        assert count >= 3
        agree(made, seed, p)


def test_a_replaced_unit_changes_no_answer_more_than_its_outgoing_weights_did() -> None:
    made = learned(learner("continual-backprop", **{**CONFIG, "replaced": 0.0}), tasks=(1,))
    x = next(iter(batches(2))).inputs
    with torch.no_grad():
        for read in (made.parameters["head.weight"],):
            read[:, :, 2] = 0.0
        made.utilities["layer0"][:] = 1.0
        made.utilities["layer0"][:, 2] = 0.0
        before = made.predict(x, None)
        made._replace("layer0")
    torch.testing.assert_close(made.predict(x, None), before)


def test_filters_are_replaced_where_layers_are_convolutions_and_adam_forgets_them() -> None:
    config = ContinualBackpropConfig.model_validate(
        {
            "kind": "continual-backprop",
            "network": {"kind": "convolutional", "channels": [3, 4]},
            "optimizer": {"kind": "adam", "rate": 0.01},
            "replaced": 0.1,
            "maturity": 2,
        }
    )
    made = ContinualBackprop(config, Problem((1, 8, 8), 4, SEEDS, "class-il", CPU, "auto", 10))
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(7):
            inputs, labels = torch.randn(3, 5, 1, 8, 8, generator=draw), torch.randint(4, (3, 5), generator=draw)
            assert made.observe(Batch(inputs, labels, torch.ones(4).bool(), None)).isfinite().all()
        assert made.counts == {"convolution0": 1, "convolution1": 1}
        made._replace("convolution1")
    moments = made.slots["first_moment"]
    for s, unit in enumerate(made.born["convolution1"].argmax(1).tolist()):
        assert made.born["convolution1"][s, unit] == 7
        assert not moments["convolution1.weight"][s, unit].any()
        assert not moments["head.weight"][s].view(4, 4, 4)[:, unit].any()
        assert moments["convolution1.weight"][s].any()
        assert not made.parameters["head.weight"][s].view(4, 4, 4)[:, unit].any()
    found = made.diagnostics()["units.dead"]
    assert ((found >= 0) & (found <= 1)).all()
