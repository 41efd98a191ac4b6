"""Accelerated operations, one folder each: `__init__` checks and dispatches, `reference` defines, the rest are its backends."""

from nlbench.kernels.backends import Backend, available_backends
from nlbench.kernels.memory_scan import MemoryScan, memory_scan
from nlbench.kernels.mlp_step import mlp_step
from nlbench.kernels.self_referential_scan import Memories, self_referential_scan

__all__ = ["Backend", "Memories", "MemoryScan", "available_backends", "memory_scan", "mlp_step", "self_referential_scan"]
