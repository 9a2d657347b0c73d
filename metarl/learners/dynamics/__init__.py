"""Learners that meta-learn a model of the dynamics, and plan with it."""
