"""A declared network -> the network."""

from __future__ import annotations

import inspect
from typing import Any

from nlbench import catalog
from nlbench.batch import Problem
from nlbench.networks.config import ModuleConfig
from nlbench.networks.module import Module
from nlbench.networks.network import Network
from nlbench.specs import Closed, ExternalConfig, own_config


def build(config: Closed, problem: Problem) -> Network:
    """Return the declared network for a problem. Raises `NlbenchError` where it does not fit the samples.

    What an external kind names is a `Network`, which gets its options as its own `Config` or as a plain dict, or else makes a
    torch.nn.Module of logits, as a `ModuleConfig` of these options would.
    """
    kind: str = config.kind  # type: ignore[attr-defined]
    found: Any = catalog.extension("networks", kind, callable, "a network, or what makes a torch.nn.Module")
    if not isinstance(config, ExternalConfig):
        return found(config, problem)
    if inspect.isclass(found) and issubclass(found, Network):
        return found(own_config(config, found), problem)
    return Module(ModuleConfig(kind="module", build=kind, options=config.options), problem, found)
