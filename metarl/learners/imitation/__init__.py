"""Guided from outside: learners that experts have shown what to do."""
