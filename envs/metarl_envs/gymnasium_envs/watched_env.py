"""A sub-environment whose mistakes become findings of the checker."""

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metarl_envs.errors import one_line, shortened
from metarl_envs.gymnasium_envs.definition import SubEnv

STEPS = 20
Tell = Callable[[str], None]


class AuthorError(Exception):
    """The environment raised; the message is a finding."""


def silent(stage: str) -> None:
    """Tell nobody."""


class WatchedEnv:
    """An environment whose mistakes become findings."""

    def __init__(self, env: SubEnv, tell: Tell) -> None:
        self.env, self._tell = env, tell

    def call(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the author's code.

        Raises:
            AuthorError: if it raises.
        """
        self._tell(what)
        try:
            return function(*arguments)
        except Exception as error:  # whatever the author's code raises
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}, line {place.lineno}"
            message = one_line(error) or "no message"
            if "unpack (expected 5" in message:  # by Gymnasium's own wrappers
                message += ": return observation, reward, terminated, truncated, info"
            raise AuthorError(
                f"{what} raises {type(error).__name__} ({where}): {message}"
            ) from None

    def set_task(self, task: dict[str, Any]) -> None:
        """Put a task in force."""
        self.call(f"set_task({_short(task)})", self.env.set_task, task)

    def reset(self, seed: int = 0) -> np.ndarray:
        """Start an episode; returns the flat observation."""
        obs: np.ndarray = self.call(f"reset(seed={seed})", self.env.reset, seed)
        return obs

    def step(self, rng: np.random.Generator) -> tuple[np.ndarray, float, bool]:
        """A random action; returns observation, reward, and whether the episode has ended."""
        action = self.env.random_action(rng)
        step = self.call("step", self.env.env.step, action)
        if np.ndim(step[1]) != 0:
            raise AuthorError(f"the reward has shape {np.shape(step[1])}; return one number")
        obs = self.call("step", self.env.flat, step[0])
        return obs, float(step[1]), bool(step[2] or step[3])

    def check_steps(self, tasks: Sequence[dict[str, Any]]) -> list[str]:
        """What can be said of single steps: shapes, finite numbers, physical masses."""
        rng = np.random.default_rng(0)
        for task in tasks:
            self.set_task(task)
            findings = self._check_model(task)
            obs, reward, ended = self.reset(), 0.0, False
            for steps in range(STEPS):
                findings = findings or self._check_numbers(obs, reward, steps, task)
                if findings:
                    return findings
                if ended:
                    break
                obs, reward, ended = self.step(rng)
        return []

    def _check_numbers(
        self, obs: np.ndarray, reward: float, steps: int, task: dict[str, Any]
    ) -> list[str]:
        size = (self.env.observation_space.shape or (0,))[0]
        if obs.size != size:
            return [
                f"an observation has {obs.size} numbers, observation_space {size}: make them agree"
            ]
        if np.isfinite(obs).all() and np.isfinite(reward):
            return []
        return [
            f"observation or reward is not finite after {steps} steps of task {_short(task)}: "
            "such an episode counts as diverged"
        ]

    def _check_model(self, task: dict[str, Any]) -> list[str]:
        model = getattr(self.env.env.unwrapped, "model", None)
        masses = getattr(model, "body_mass", None)
        if not isinstance(masses, np.ndarray) or not (masses < 0).any():
            return []
        return [
            f"task {_short(task)} gives body {int(masses.argmin())} a mass of {masses.min():g} kg: "
            "keep masses positive"
        ]


def _short(task: dict[str, Any]) -> str:
    return shortened({key: np.round(value, 4).tolist() for key, value in task.items()})
