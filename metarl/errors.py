"""Errors that a user can cause: subclasses of `ValueError`, each message one clear sentence."""

from metarl_envs.errors import UserError, did_you_mean

__all__ = ["CheckpointError", "ConfigError", "EnvironmentFitError", "UserError", "did_you_mean"]


class ConfigError(UserError):
    """A configuration key is unknown, of the wrong type, or out of range."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or does not fit what it is loaded into."""


class EnvironmentFitError(UserError):
    """An environment cannot be made, or does not fit the policy."""
