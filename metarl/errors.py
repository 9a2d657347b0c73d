"""Errors that a user can cause: subclasses of `ValueError`, each message one clear sentence.

`TrainingStopped` is no error, and a `KeyboardInterrupt`.
"""

from metarl_envs.errors import UserError, did_you_mean

__all__ = [
    "CheckpointError",
    "ConfigError",
    "EnvironmentFitError",
    "MachineError",
    "TrainingError",
    "TrainingStopped",
    "UserError",
    "did_you_mean",
]


class ConfigError(UserError):
    """A configuration key is unknown, of the wrong type, or out of range."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or does not fit what it is loaded into."""


class TrainingError(UserError):
    """Training cannot go on as it is: update after update had to be skipped."""


class MachineError(RuntimeError):
    """The machine failed a training: disk or memory. One sentence; scripts exit with status 3."""


class TrainingStopped(KeyboardInterrupt):
    """A signal ended the training.

    Args:
        message: one sentence, how to go on.
        number: of the signal.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class EnvironmentFitError(UserError):
    """An environment cannot be made, or does not fit the policy."""
