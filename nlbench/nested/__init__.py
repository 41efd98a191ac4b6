"""Nested learning: associative memories, update rules and optimizers, continuum memories, self-referential Titans and HOPE."""
