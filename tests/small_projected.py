"""Small learners of kind "projected", tables and batches for tests."""

from __future__ import annotations

from typing import Any

import torch
from small_streams import CPU

from nlbench import Batch, Problem
from nlbench.learners.projected.config import ProjectedConfig
from nlbench.learners.projected.learner import Projected

S, B, C = 2, 5, 4
SHAPE = (1, 8, 8)
N = 64

EXACT: dict[str, Any] = {"keys": {"kind": "random", "width": 20}, "readout": {"rule": "exact", "ridge": 1.0}, "refresh": 1}
LEVELS: dict[str, Any] = {
    "levels": [
        {"width": 9, "period": 3, "rate": 0.3, "ridge": 2.0},
        {"width": 7, "period": 1, "rate": 0.2, "ridge": 3.0, "retain": 0.9},
    ],
    "readout": {"rule": "protected", "rate": 0.5, "ridge": 1.0},
    "refresh": 4,
    "share": 2,
}
WARM: dict[str, Any] = {**EXACT, "keys": {"kind": "random", "width": 20, "warm_up": 3}}
IMAGES: dict[str, Any] = {**EXACT, "keys": {"kind": "convolution", "filters": [3, 4], "sizes": [3, 2], "pools": [1, 2]}}
DGD: dict[str, Any] = {"keys": {"kind": "random", "width": 20}, "readout": {"rule": "dgd"}}
SELF: dict[str, Any] = {"self_reference": {"makes": ["keys", "rates", "retentions"], "forget": 0.3}}
WARM_SELF, LEVELS_SELF, DGD_SELF = {**WARM, **SELF}, {**LEVELS, **SELF}, {**DGD, **SELF}
AT_ONCE: list[dict[str, Any]] = [
    {**LEVELS, "levels": [{**LEVELS["levels"][0], "period": 2}, LEVELS["levels"][1]], "share": 3, "refresh": 16},
    {**LEVELS, "levels": [{"width": 9, "period": 4}, {"width": 8, "period": 2, "retain": 0.8}, {"width": 7}], "refresh": 10},
    {"levels": [{"width": 9, "period": 3}], "readout": {"rule": "exact", "retain": 0.9}, "refresh": 7, "bound": 0.01},
    {**EXACT, "readout": {"rule": "exact", "retain": 0.9, "slack": 0.3, "surprise": 1.0}, "refresh": 7},
    {"readout": {"rule": "protected", "retain": 0.9}, "refresh": 7},
    {**LEVELS, "metric": False, "bound": 0.1, "refresh": 16},
    {**LEVELS, "levels": [{"width": 9, "period": 2}, {"width": 8}, {"width": 7, "retain": 0.8}, {"width": 6}], "refresh": 16},
]
AT_ONCE_NAMES = ["slow-fast", "slower-slow-fast", "slow-exact", "fading-exact", "read-out", "plain", "layers"]


def learner(table: dict[str, Any], seeds: tuple[int, ...] = (0, 1), backend: str = "auto") -> Projected:
    config = ProjectedConfig.model_validate({"kind": "projected", **table})
    return Projected(config, Problem(SHAPE, C, seeds, "class-il", CPU, backend, 100))


def batch(step: int, seeds: tuple[int, ...] = (0, 1)) -> Batch:
    draws = [torch.Generator().manual_seed(1000 * step + seed) for seed in seeds]
    inputs = torch.stack([torch.randn(B, *SHAPE, generator=draw) for draw in draws])
    labels = torch.stack([torch.randint(C, (B,), generator=draw) for draw in draws])
    return Batch(inputs, labels, torch.ones(C, dtype=torch.bool), None)


def taught(table: dict[str, Any], steps: int = 12, seeds: tuple[int, ...] = (0, 1)) -> Projected:
    made = learner(table, seeds)
    for step in range(steps):
        made.observe(batch(step, seeds))
    return made
