"""Accelerated operations, one folder each: `__init__` checks and dispatches, `reference` defines, the rest are its backends."""
