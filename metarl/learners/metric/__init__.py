"""Learners that compare tasks: knowledge transfers between those that are near each other."""
