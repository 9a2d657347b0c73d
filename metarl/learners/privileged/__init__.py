"""Learners that are told the task in training, and find it out for themselves afterwards."""
