"""Learners: recipes made into models that learn, all seeds at once. Imports no torch."""
