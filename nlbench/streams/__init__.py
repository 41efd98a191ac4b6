"""Streams: declarations made into tensors, all seeds at once. Imports no torch."""
