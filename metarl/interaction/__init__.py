"""Policies and environments meeting: rollouts, and the loop that makes them."""
