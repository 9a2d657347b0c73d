"""Policies: stateless functions of (params, obs), and how they act."""
