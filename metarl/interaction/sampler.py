"""The loop in which actors meet environments.

Shapes: M tasks, E episodes per task, H steps, O observation, A action, N numbers of noise.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from metarl.environments.fit import Spec
from metarl.interaction.rollouts import TOLD, Rollouts
from metarl.interaction.threads import arithmetic_threads
from metarl.policies.actors import ActionStep, Actor, Percept
from metarl.policies.arrays import array_dtype, to_tensor
from metarl.seeding import Path, action_noise, reset_seeds
from metarl.watching import watcher
from metarl_envs.memory import require_memory
from metarl_envs.protocol import ONCE, PER_STEP_KEYS, SUCCESS_KEYS

S = TypeVar("S")


class SampledEnv(Protocol):
    """What the loop needs of an environment: sub-environments that never reset on their own."""

    num_envs: int

    @property
    def physics_s(self) -> float:
        """Seconds spent in a physics engine so far, 0 where there is none."""
        ...

    def reset(self, *, seed: list[int]) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode everywhere, one seed each."""
        ...

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance every running episode; ended ones stand still."""
        ...


class Acting(Protocol[S]):
    """What the loop needs of a learner."""

    spec: Spec
    device: torch.device
    dtype: torch.dtype

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that an actor is given for each action."""
        ...

    def actor(self, state: S) -> Actor[S]:
        """Acts from a state, which it does not change."""
        ...


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


def collect(
    env: SampledEnv,
    learner: Acting[S],
    state: S,
    path: Path,
    task_keys: Sequence[int],
    horizon: int,
    clock: Clock | None = None,
    told: Callable[[], np.ndarray] | None = None,
) -> Rollouts:
    """One episode in every sub-environment, for all tasks at once.

    Args:
        env: M*E sub-environments grouped by task, tasks already set.
        learner: chooses the actions.
        state: the learner's state for these M tasks; it does not change.
        path: names the random stream, see `seeding`.
        task_keys: one integer per task, which names its part of the stream.
        horizon: H, longest episode.
        clock: where to add the time spent, or None.
        told: numbers of the tasks as they hold now, (M*E, P), told to actors, an extra (`TOLD`).
    """
    clock, num_tasks = clock or Clock(), len(task_keys)
    episodes = env.num_envs // num_tasks
    # no thread that waits for arithmetic takes a core from the physics
    with arithmetic_threads(1), torch.no_grad():
        actor = learner.actor(state)
        recorder = Recorder(num_tasks, episodes, horizon, learner)
        noise_MHEN = action_noise(path, task_keys, episodes, horizon, learner.noise_size)
        noise_MHEN = noise_MHEN.astype(recorder.dtype, copy=False)
        start, physics_before = time.perf_counter(), env.physics_s
        obs, _ = env.reset(seed=reset_seeds(path, task_keys, episodes))
        clock.env_s += time.perf_counter() - start
        previous = recorder.first_inputs()
        for t in range(horizon):
            start = time.perf_counter()
            seen = recorder.observe(t, obs), *previous, recorder.tell(t, told)
            actions = recorder.act(t, actor.act(Percept(*seen), noise_MHEN[:, t]))
            middle = time.perf_counter()
            obs, rewards, terminated, truncated, info = env.step(actions)
            end = time.perf_counter()
            clock.policy_s += middle - start
            clock.env_s += end - middle
            previous = recorder.outcome(t, rewards, terminated, truncated, info)
            if recorder.all_ended:
                break
        rollouts = recorder.finish(obs, t + 1)
        if bool((rollouts.lengths_ME == t + 1).all()):  # else actors went on after some had ended
            rollouts = rollouts.with_actor(state, actor, actor.state)
    clock.env_steps += rollouts.num_steps
    clock.physics_s += env.physics_s - physics_before
    return rollouts


def require_rollout_memory(
    learner: Acting[Any], num_tasks: int, episodes: int, horizon: int, times: int = 1
) -> None:
    """Refuse rollouts, kept so many times, that this machine's memory cannot hold.

    Raises:
        MemoryNeedError: with the estimate.
    """
    spec = learner.spec
    numbers = spec.obs_size + spec.action_size + learner.noise_size + 3
    size = np.dtype(array_dtype(learner.dtype)).itemsize
    require_memory(
        f"{f'{times:,} x ' * (times > 1)}rollouts of {num_tasks:,} tasks x {episodes:,} episodes x "
        f"{horizon:,} steps",
        float(times) * num_tasks * episodes * horizon * numbers * size,
    )


class Recorder:
    """Buffers of one `collect`, written in place; `finish` makes tensors of them."""

    def __init__(self, num_tasks: int, episodes: int, horizon: int, learner: Acting[S]) -> None:
        shape, spec = (num_tasks, episodes), learner.spec
        self._shape, self._horizon, self._device = shape, horizon, learner.device
        self.dtype = array_dtype(learner.dtype)
        self._obs = np.zeros((*shape, horizon, spec.obs_size), self.dtype)
        self._actions = np.zeros((*shape, horizon, spec.action_size), self.dtype)
        self._rewards = np.zeros((*shape, horizon), self.dtype)
        self._log_probs: np.ndarray | None = None
        self._extras: dict[str, np.ndarray] = {}
        self._reported: dict[str, np.ndarray] = {}
        self._told: np.ndarray | None = None
        self._lengths = np.full(shape, horizon)
        self._ended = np.zeros(shape, bool)
        self._terminated = np.zeros(shape, bool)
        self._diverged = np.zeros(shape, bool)
        self._success: np.ndarray | None = None
        self._later = np.zeros(shape, bool)
        self.all_ended = False
        self._tell = watcher()

    def first_inputs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Previous action, previous reward and first flag at the start of an episode."""
        actions, rewards = self._actions[:, :, 0], self._rewards[:, :, 0]
        return np.zeros_like(actions), np.zeros_like(rewards), ~self._later

    def observe(self, t: int, obs: np.ndarray) -> np.ndarray:
        """Record the observations before step t; return them by task and episode."""
        # acting reads a dense copy: rows of the buffer lie far apart
        obs_MEO = np.asarray(obs, self.dtype).reshape(*self._shape, -1)
        self._obs[:, :, t] = obs_MEO
        return obs_MEO

    def tell(self, t: int, told: Callable[[], np.ndarray] | None) -> np.ndarray | None:
        """Record the tasks in force in step t, if told; return them by task and episode."""
        if told is None:
            return None
        told_MEP = told().reshape(*self._shape, -1)
        if t == 0:
            self._told = np.zeros((*self._shape, self._horizon, told_MEP.shape[-1]))
        assert self._told is not None
        self._told[:, :, t] = told_MEP
        return told_MEP

    def act(self, t: int, step: ActionStep) -> np.ndarray:
        """Record what the actor chose in step t; return the actions, one row per simulation."""
        self._chosen = step.actions_MEA
        self._actions[:, :, t] = self._chosen
        if t == 0:
            self._make_room(step)
        assert (step.log_probs_ME is None) == (self._log_probs is None) and (
            step.extras.keys() == self._extras.keys()
        ), f"an actor records the same in every step, this one something else in step {t}"
        if self._log_probs is not None:
            self._log_probs[:, :, t] = step.log_probs_ME
        for name, values in step.extras.items():
            self._extras[name][:, :, t] = values
        return self._chosen.reshape(-1, self._chosen.shape[-1])

    def _make_room(self, step: ActionStep) -> None:
        """Buffers for what only some actors record."""
        if step.log_probs_ME is not None:
            self._log_probs = np.zeros((*self._shape, self._horizon), self.dtype)
        for name, values in step.extras.items():
            shape = (*self._shape, self._horizon, *values.shape[2:])
            self._extras[name] = np.zeros(shape, values.dtype)

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
        ends = terminated | truncated
        if info:
            self._note(info)
            for key in PER_STEP_KEYS:
                if key in info:
                    if key not in self._reported:
                        self._reported[key] = np.zeros_like(self._rewards)
                    self._reported[key][:, :, t] = np.asarray(info[key]).reshape(self._shape)
            ends = ends | self._diverged.reshape(ends.shape)
        if ends.any():
            ends = ends.reshape(self._shape) & ~self._ended
            self._lengths[ends] = np.where(self._diverged[ends], t, t + 1)
            self._terminated |= terminated.reshape(self._shape) & ends & ~self._diverged
            self._ended |= ends
            self.all_ended = bool(self._ended.all())
        self._tell(t + 1, self._horizon)
        return self._chosen, rewards_ME, self._later

    def _note(self, info: Mapping[str, Any]) -> None:
        """Divergence and success of episodes that have not ended."""
        running = ~self._ended
        if "diverged" in info:
            self._diverged |= np.asarray(info["diverged"], bool).reshape(self._shape) & running
            running &= ~self._diverged
        for key in SUCCESS_KEYS:
            if key in info:
                now = np.asarray(info[key]).reshape(self._shape).astype(bool)
                before = np.zeros(self._shape, bool) if self._success is None else self._success
                kept = before if key == ONCE else before & ~running
                self._success = kept | (now & running)

    def finish(self, last_obs: np.ndarray, taken: int) -> Rollouts:
        """The rollouts, after the `taken` steps of the longest episode."""
        last_obs_MEO = np.array(last_obs, self.dtype).reshape(*self._shape, -1)
        self._obs[:, :, taken:] = last_obs_MEO[:, :, None]
        valid_MEH = np.arange(self._horizon) < self._lengths[..., None]
        self._rewards[~valid_MEH] = 0.0

        reported = {key: np.where(valid_MEH, v, 0.0) for key, v in self._reported.items()}
        extras = {**self._extras, **reported}
        if self._told is not None:
            extras[TOLD] = self._told

        def tensor(array: np.ndarray) -> torch.Tensor:
            return to_tensor(array, self._device)

        return Rollouts(
            obs_MEHO=tensor(self._obs),
            actions_MEHA=tensor(self._actions),
            rewards_MEH=tensor(self._rewards),
            valid_MEH=tensor(valid_MEH),
            terminated_ME=tensor(self._terminated),
            diverged_ME=tensor(self._diverged),
            last_obs_MEO=tensor(last_obs_MEO),
            success_ME=None if self._success is None else tensor(self._success & ~self._diverged),
            log_probs_MEH=None if self._log_probs is None else tensor(self._log_probs),
            extras={name: tensor(values) for name, values in extras.items()},
        )
