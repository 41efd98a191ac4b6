"""The fifth memory of a block: it makes no key, value or gate, so it waits for those that do and is a memory scan of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from nlbench.kernels.self_referential_scan import Memories


def learn_and_read(
    scan_memory: Callable[..., tuple[Tensor, Any, Any]],
    memory: Tensor,
    initial: Memories | None,
    queries: Tensor,
    keys: Tensor,
    probes: Tensor,
    rate: Tensor,
    retain: Tensor,
    chunk: int,
    read: str,
) -> tuple[Tensor, Tensor]:
    """The memory after all tokens and `y = q + W q` of each: it learns its own answers, p + W p, to the probes p.

    scan_memory  the scan of a backend of `memory_scan`
    """
    targets, outputs = probes, queries
    if initial is not None:
        memory, targets = memory - initial.memory, probes + probes @ initial.memory.mT
        outputs = queries + queries @ initial.memory.mT
    memory, answers, _ = scan_memory(memory, keys, targets, rate, retain, chunk, "self_generated", probes, queries, read)
    return memory if initial is None else memory + initial.memory, outputs + answers
