"""Gradients that leave alone what earlier inputs of a layer span, so that what it answered to them stays. Imports no torch."""
