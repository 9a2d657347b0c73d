"""Rollouts of all tasks and episodes at once, and the border between NumPy and torch.

Shapes: M tasks, E episodes per task, H steps, O observation, A action.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from metarl.policies.actors import ActionStep, array_dtype
from metarl.seeding import Path, action_noise, reset_seeds

if TYPE_CHECKING:
    from metarl.learners.base import MetaLearner
    from metarl_envs.protocol import TaskEnv

_SUCCESS_KEYS = ("success", "is_success")


@dataclass(frozen=True)
class Rollouts:
    """E episodes of each of M tasks.

    Attributes:
        obs_MEHO: observations before each action; after an episode's end the last one, repeated.
        actions_MEHA: actions as the policy gave them (before any clipping).
        rewards_MEH: rewards; zero where not valid.
        log_probs_MEH: log-probabilities of the actions at the parameters that sampled them.
        valid_MEH: bool, False after an episode's end and in a step that diverged.
        terminated_ME: bool, True where the episode ended by itself, False where it was cut off.
        diverged_ME: bool, True where the simulation diverged.
        last_obs_MEO: the observation after the last step.
        success_ME: bool, whether any step reported success, or None if the environment never
            reports it.
    """

    obs_MEHO: Tensor
    actions_MEHA: Tensor
    rewards_MEH: Tensor
    log_probs_MEH: Tensor
    valid_MEH: Tensor
    terminated_ME: Tensor
    diverged_ME: Tensor
    last_obs_MEO: Tensor
    success_ME: Tensor | None = None

    @property
    def returns_ME(self) -> Tensor:
        """Undiscounted return of every episode."""
        return (self.rewards_MEH * self.valid_MEH).sum(-1)

    @property
    def lengths_ME(self) -> Tensor:
        """Number of valid steps of every episode."""
        return self.valid_MEH.sum(-1)

    @property
    def num_steps(self) -> int:
        """Environment steps that these rollouts took."""
        return int(self.valid_MEH.sum()) + int(self.diverged_ME.sum())

    def map(self, function: Callable[[Tensor], Tensor]) -> "Rollouts":
        """The same rollouts with `function` applied to every tensor."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(v) for name, v in values.items() if v is not None})

    @staticmethod
    def concatenate_episodes(parts: "list[Rollouts]") -> "Rollouts":
        """Rollouts of the same tasks, one after the other along the episode axis."""
        values: dict[str, Any] = {}
        for field in fields(Rollouts):
            tensors = [getattr(part, field.name) for part in parts]
            present = all(tensor is not None for tensor in tensors)
            values[field.name] = torch.cat(tensors, dim=1) if present else None
        return Rollouts(**values)

    def task_slice(self, tasks: slice) -> "Rollouts":
        """The rollouts of some tasks."""
        return self.map(lambda tensor: tensor[tasks])


@dataclass
class Clock:
    """Seconds and environment steps spent, by what they were spent on.

    Attributes:
        physics_s: in the physics engine, 0 where the environment does not tell.
        env_s: in the environment: physics, observations, rewards, resets.
        policy_s: choosing actions.
        env_steps: steps taken.
    """

    physics_s: float = 0.0
    env_s: float = 0.0
    policy_s: float = 0.0
    env_steps: int = 0


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def arithmetic_threads(count: int) -> Iterator[None]:
    """So many threads of torch, also in Python threads that start inside, and of NumPy's BLAS.

    Restored afterwards.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with _thread_pools().limit(limits=count, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)


def collect(
    env: "TaskEnv",
    learner: "MetaLearner",
    state: Any,
    path: Path,
    task_keys: list[int],
    horizon: int,
    clock: Clock | None = None,
) -> tuple[Rollouts, Any]:
    """One episode in every sub-environment, for all tasks at once.

    Args:
        env: M*E sub-environments grouped by task, tasks already set.
        learner: chooses the actions.
        state: the learner's state for these M tasks.
        path: names the random stream, see `seeding`.
        task_keys: one integer per task, which names its part of the stream.
        horizon: H, longest episode.
        clock: where to add the time spent, or None.

    Returns:
        The rollouts, and the learner's state after them.
    """
    clock = clock or Clock()
    num_tasks, episodes = len(task_keys), env.num_envs // len(task_keys)
    # no thread that waits for arithmetic takes a core from the physics
    with arithmetic_threads(1), torch.no_grad():
        recorder = _Recorder(num_tasks, episodes, horizon, learner)
        noise_MHEA = action_noise(path, task_keys, episodes, horizon, learner.spec.noise_size)
        noise_MHEA = noise_MHEA.astype(recorder.dtype, copy=False)
        start, physics_before = time.perf_counter(), _physics_s(env)
        obs, _ = env.reset(seed=reset_seeds(path, task_keys, episodes))
        clock.env_s += time.perf_counter() - start
        previous = recorder.first_inputs()
        for t in range(horizon):
            start = time.perf_counter()
            obs_MEO = recorder.observe(t, obs)
            step, state = learner.act(state, obs_MEO, *previous, noise_MHEA[:, t])
            actions = recorder.act(t, step)
            middle = time.perf_counter()
            obs, rewards, terminated, truncated, info = env.step(actions)
            end = time.perf_counter()
            clock.policy_s, clock.env_s = (
                clock.policy_s + middle - start,
                clock.env_s + end - middle,
            )
            previous = recorder.outcome(t, rewards, terminated, truncated, info)
            if recorder.all_ended:
                break
    rollouts = recorder.finish(obs, t + 1)
    clock.env_steps += rollouts.num_steps
    clock.physics_s += _physics_s(env) - physics_before
    return rollouts, state


def _physics_s(env: Any) -> float:
    return float(getattr(env, "physics_s", 0.0))


class _Recorder:
    """Buffers of one `collect`, written in place; `finish` makes tensors of them."""

    def __init__(self, num_tasks: int, episodes: int, horizon: int, learner: "MetaLearner") -> None:
        shape, spec = (num_tasks, episodes), learner.spec
        self._shape, self._horizon, self._device = shape, horizon, learner.device
        self.dtype = array_dtype(learner.dtype)
        self._obs = np.zeros((*shape, horizon, spec.obs_size), self.dtype)
        self._actions = np.zeros((*shape, horizon, spec.action_size), self.dtype)
        self._rewards = np.zeros((*shape, horizon), self.dtype)
        self._log_probs = np.zeros((*shape, horizon), self.dtype)
        self._lengths = np.full(shape, horizon)
        self._ended = np.zeros(shape, bool)
        self._terminated = np.zeros(shape, bool)
        self._diverged = np.zeros(shape, bool)
        self._success: np.ndarray | None = None
        self._later = np.zeros(shape, bool)
        self.all_ended = False

    def first_inputs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Previous action, previous reward and first flag at the start of an episode."""
        return self._actions[:, :, 0], self._rewards[:, :, 0], ~self._later

    def observe(self, t: int, obs: np.ndarray) -> np.ndarray:
        # acting reads a dense copy: rows of the buffer lie far apart
        obs_MEO = np.asarray(obs, self.dtype).reshape(*self._shape, -1)
        self._obs[:, :, t] = obs_MEO
        return obs_MEO

    def act(self, t: int, step: ActionStep) -> np.ndarray:
        self._actions[:, :, t], self._log_probs[:, :, t] = self._chosen, _ = step
        return self._chosen.reshape(-1, self._chosen.shape[-1])

    def outcome(
        self,
        t: int,
        rewards: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        info: Mapping[str, Any],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Record what the step gave; return the inputs of the next action."""
        rewards_ME = np.asarray(rewards, self.dtype).reshape(self._shape)
        self._rewards[:, :, t] = rewards_ME
        if info:
            self._note(info)
        ends = terminated | truncated
        if ends.any():
            ends = ends.reshape(self._shape) & ~self._ended
            self._lengths[ends] = np.where(self._diverged[ends], t, t + 1)
            self._terminated |= terminated.reshape(self._shape) & ends & ~self._diverged
            self._ended |= ends
            self.all_ended = bool(self._ended.all())
        return self._chosen, rewards_ME, self._later

    def _note(self, info: Mapping[str, Any]) -> None:
        """Divergence and success of episodes that have not ended."""
        running = ~self._ended
        if "diverged" in info:
            self._diverged |= np.asarray(info["diverged"], bool).reshape(self._shape) & running
            running &= ~self._diverged
        for key in _SUCCESS_KEYS:
            if key in info:
                success = np.asarray(info[key]).reshape(self._shape).astype(bool) & running
                self._success = success if self._success is None else self._success | success

    def finish(self, last_obs: np.ndarray, taken: int) -> Rollouts:
        """The rollouts, after the `taken` steps of the longest episode."""
        last_obs_MEO = np.array(last_obs, self.dtype).reshape(*self._shape, -1)
        self._obs[:, :, taken:] = last_obs_MEO[:, :, None]
        valid_MEH = np.arange(self._horizon) < self._lengths[..., None]
        self._rewards *= valid_MEH
        arrays: dict[str, np.ndarray] = {
            "obs_MEHO": self._obs,
            "actions_MEHA": self._actions,
            "rewards_MEH": self._rewards,
            "log_probs_MEH": self._log_probs,
            "valid_MEH": valid_MEH,
            "terminated_ME": self._terminated,
            "diverged_ME": self._diverged,
            "last_obs_MEO": last_obs_MEO,
        }
        if self._success is not None:
            arrays["success_ME"] = self._success
        return Rollouts(**{n: torch.from_numpy(a).to(self._device) for n, a in arrays.items()})
