"""Errors that a user can cause, each a `ValueError` whose message is one sentence."""

import difflib
import numbers
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user gave is wrong; scripts print the message and exit with status 2."""


class TaskError(UserError):
    """A task does not belong to the environment's task space, or a split does not exist."""


class ActionError(UserError):
    """An action has the wrong shape or is not finite."""


class EnvironmentConfigError(UserError):
    """A constructor argument of an environment is not allowed."""


def require_positive(name: str, value: float) -> None:
    """Refuse a constructor argument that is not positive.

    Raises:
        EnvironmentConfigError: with its name and value.
    """
    if not isinstance(value, numbers.Real) or not value > 0:
        raise EnvironmentConfigError(f"{name} must be positive, got {value!r}")


def require_count(name: str, value: int) -> None:
    """Refuse a constructor argument that is no positive whole number.

    Raises:
        EnvironmentConfigError: with its name and value.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or not value > 0:
        raise EnvironmentConfigError(f"{name} must be a positive whole number, got {value!r}")


_LONGEST = 200


def one_line(error: Exception) -> str:
    """The message of another library's error, without its line breaks."""
    return " ".join(str(error).split())


def shortened(value: object) -> str:
    """A value as text, cut where it would hide the sentence around it."""
    text = str(value)
    return text if len(text) < _LONGEST else f"{text[:_LONGEST]}..."


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the nearest allowed name, or an empty string."""
    close = difflib.get_close_matches(name, list(allowed), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
