"""Learners that no method should be worse than, or can be better than. Imports no torch."""
