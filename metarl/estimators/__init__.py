"""Estimators of returns, values, advantages and policy gradients: pure functions."""
