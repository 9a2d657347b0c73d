"""Robots on MuJoCo's native batch, and their tasks."""
