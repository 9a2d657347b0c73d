"""Learners that infer the task: a belief about it is what they adapt."""
