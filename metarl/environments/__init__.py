"""Environments by their Gymnasium id, and what learners need to know of them."""
