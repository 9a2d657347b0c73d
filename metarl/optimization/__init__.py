"""Optimisation of parameter vectors."""
