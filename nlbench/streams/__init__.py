"""Streams: declarations made into tensors, all seeds at once; `nlbench/catalog/streams.py` has their kinds. Imports no torch."""
