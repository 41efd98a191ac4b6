"""nlbench: continual learning measured honestly and fast, with an accelerated nested-learning core."""

__version__ = "0.1.0"
