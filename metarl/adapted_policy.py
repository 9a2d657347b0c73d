"""Adapt to one task of one environment, and use the result like a stable-baselines3 model.

Shapes: M = 1 task, E episodes, N observations, O observation, A action.
"""

from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from metarl.deployment.onnx_file import write_onnx
from metarl.environments.fit import require_fit
from metarl.environments.single import into_space
from metarl.errors import ConfigError
from metarl.interaction.demonstrations import Demonstrations
from metarl.interaction.lived import horizon_of, rollouts_on, rounds_of
from metarl.learners.base import MetaLearner
from metarl.learners.demonstrated import require_demonstrations
from metarl.policies.actors import Percept
from metarl.policies.arrays import array_dtype
from metarl.seeding import Purpose, action_generator
from metarl_envs.single_env import SingleTaskEnv
from metarl_envs.tasks.batches import batch_of_one, rows_of, to_json

S = TypeVar("S")


class LoopState(NamedTuple, Generic[S]):
    """What `predict` has to be given back in its next call."""

    learner_state: S
    previous_actions_MEA: np.ndarray


class AdaptedPolicy(Generic[S]):
    """A policy for one task. Acting changes neither it nor the learner it came from.

    It acts with the learner's meta-parameters as they are at the time. A learner that acts on
    rewards (RL2) needs them in `predict`; stable-baselines3's `evaluate_policy` gives none.

    Args:
        learner: the meta-learner.
        state: its state after adaptation, for one task.
        action_space: where actions go.
        seed: of the noise of sampled actions.
    """

    def __init__(
        self, learner: MetaLearner[S], state: S, action_space: spaces.Space, seed: int = 0
    ) -> None:
        self.learner, self.state, self.action_space = learner, state, action_space
        self._generator = action_generator(seed)

    def predict(
        self,
        obs: np.ndarray,
        state: LoopState[S] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        reward: np.ndarray | float | None = None,
    ) -> tuple[np.ndarray, LoopState[S]]:
        """Actions for one observation (O,) or several (N, O), clipped to the action space.

        Args:
            obs: the observation.
            state: what the previous call returned, or None at the start.
            episode_start: bool (N,), where an episode begins; None for nowhere but at the start.
            deterministic: the most likely action instead of a sampled one.
            reward: what the previous action earned, a number or (N,). A learner that acts on
                rewards (RL2) needs it except at an episode's start.

        Returns:
            Actions, shape (A,) or (N, A) (an index or (N,) for discrete ones), and the state for
            the next call.

        Raises:
            ConfigError: if an observation or reward is not finite or of the wrong size, a reward
                is needed and not given, or `state` is that of another number of observations.
        """
        learner = self.learner
        seen = self._percept(obs, state, episode_start, reward)
        if reward is None and learner.acts_on_rewards and not seen.first_ME.all():
            raise ConfigError(
                "this policy goes on adapting from its rewards: give predict the reward of the "
                "previous action (reward=...)"
            )
        actor = learner.actor(self.state if state is None else state.learner_state)
        noise_MEN = None
        if not deterministic:
            shape = (*seen.first_ME.shape, learner.noise_size)
            noise_MEN = self._generator.standard_normal(shape).astype(seen.obs_MEO.dtype)
        with torch.no_grad():
            actions_MEA = actor.act(seen, noise_MEN).actions_MEA
        actions = into_space(actions_MEA[0], self.action_space)
        after = LoopState(actor.state, actions_MEA)
        return (actions if np.ndim(obs) > 1 else actions[0]), after

    def export(self, path: str | Path) -> None:
        """Write the policy as an ONNX file, see `deployment.onnx_file`: its likeliest actions.

        A learner that remembers has its memory among the inputs and outputs.

        Raises:
            ConfigError: if the file's name is none, the learner has no such form, or ONNX is not
                installed.
        """
        acting = self.learner.acting_module(self.state)
        write_onnx(acting, self.learner.spec, self.action_space, path)

    def _checked(self, obs: np.ndarray) -> np.ndarray:
        """Observations as rows (N, O) of the learner's type, of the right size and finite."""
        size, dtype = self.learner.spec.obs_size, array_dtype(self.learner.dtype)
        rows_NO = np.atleast_2d(_numbers("an observation", obs, dtype))
        if rows_NO.ndim != 2 or rows_NO.shape[1] != size or not len(rows_NO):
            raise ConfigError(
                f"observations have shape {np.shape(obs)}, expected ({size},) or (N, {size})"
            )
        return rows_NO

    def _percept(
        self,
        obs: np.ndarray,
        state: LoopState[S] | None,
        episode_start: np.ndarray | None,
        reward: np.ndarray | float | None,
    ) -> Percept:
        """What the actor is told; as in training, nothing comes before an episode's first step."""
        dtype = array_dtype(self.learner.dtype)
        obs_MEO = self._checked(obs)[None]
        shape = obs_MEO.shape[:2]
        starts = state is None if episode_start is None else np.asarray(episode_start, bool)
        if np.size(starts) not in (1, shape[1]):
            raise ConfigError(f"{np.size(starts)} episode starts for {shape[1]} observations")
        first_ME = np.zeros(shape, bool) | np.reshape(starts, (1, -1))
        actions_MEA = np.zeros((*shape, self.learner.spec.action_size), dtype)
        if state is not None:
            if not isinstance(state, LoopState):
                raise ConfigError("state must be what the previous call of predict returned")
            have = state.previous_actions_MEA.shape[1]
            if have != shape[1]:
                raise ConfigError(f"state belongs to {have} observations, got {shape[1]}")
            kept = np.where(first_ME[..., None], 0.0, state.previous_actions_MEA)
            actions_MEA = kept.astype(dtype)
        rewards_ME = np.zeros(shape, dtype)
        if reward is not None:
            given = _numbers("a reward", reward, dtype).reshape(1, -1)
            if given.shape[1] not in (1, shape[1]):
                raise ConfigError(f"{given.shape[1]} rewards for {shape[1]} observations")
            rewards_ME += np.where(first_ME, 0.0, given)
        return Percept(obs_MEO, actions_MEA, rewards_ME, first_ME)


def _numbers(what: str, values: object, dtype: np.dtype) -> np.ndarray:
    """Finite numbers as an array.

    Raises:
        ConfigError: if they are none.
    """
    try:
        array = np.asarray(values)
    except ValueError:  # ragged
        raise ConfigError(f"{what} must be an array of numbers, got {values!r}") from None
    if array.dtype.kind not in "fiub":
        raise ConfigError(f"{what} must be an array of numbers, got {array.dtype}")
    with np.errstate(over="ignore"):
        array = array.astype(dtype)
    if not np.isfinite(array).all():
        raise ConfigError(f"{what} is not finite: no action follows from it")
    return array


def _require_task(env: gymnasium.Env, demonstrations: Demonstrations) -> None:
    """Refuse demonstrations of another task, where the environment tells its own."""
    inner = env.unwrapped
    if not isinstance(inner, SingleTaskEnv):
        return
    own, shown = (rows_of(t) for t in (batch_of_one(inner.task), demonstrations.tasks))
    if own.shape != shown.shape or not np.allclose(own, shown):
        raise ConfigError(
            f"demonstrations of {to_json(demonstrations.tasks)}, the environment's task is "
            f"{to_json(batch_of_one(inner.task))}"
        )


def adapt(
    learner: MetaLearner[S],
    env: gymnasium.Env,
    *,
    episodes: int = 20,
    steps: int = 1,
    seed: int = 0,
    demonstrations: Demonstrations | None = None,
) -> AdaptedPolicy[S]:
    """Adapt to the task of `env` from `episodes` rollouts per adaptation step.

    An environment of this project runs its rollouts as one native batch; any other Gymnasium
    environment, and one in wrappers of your own, is stepped one episode after the other. A learner
    whose episodes each belong to a trial of their own (RL2), or that adapts after each of them
    (PEARL), lives through all `steps * episodes` of them one after the other.

    Args:
        learner: a meta-learner, see `metarl.load`.
        env: one environment, its task set, made with a time limit.
        episodes: E, rollouts per adaptation step.
        steps: adaptation steps.
        seed: of initial states and action noise.
        demonstrations: of this one task, for a learner that adapts to them; all of their episodes
            in each step.

    Raises:
        UserError: if the environment does not fit the learner, or a size is not positive.
    """
    require_demonstrations(learner, demonstrations)
    if episodes < 1 or steps < 0 or seed < 0:
        raise ConfigError(
            "episodes must be positive, steps and seed not negative; "
            f"got {episodes}, {steps} and {seed}"
        )
    name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
    require_fit(name, env.observation_space, env.action_space, learner.spec)
    horizon = horizon_of(env, learner)
    if demonstrations is not None:
        if demonstrations.num_tasks != 1:
            raise ConfigError(f"demonstrations of one task, please, got {demonstrations.num_tasks}")
        _require_task(env, demonstrations)
        state = learner.begin(1, demonstrations.episodes)
        for _ in range(steps):
            state = learner.adapt(state, demonstrations.rollouts)
        return AdaptedPolicy(learner, state, env.action_space, seed)
    episodes, steps = rounds_of(learner, episodes, steps)
    state = learner.begin(1, episodes)
    for step in range(steps):
        path = (seed, Purpose.ADAPTATION, step)
        rollouts = rollouts_on(env, learner, state, path, episodes, horizon)
        state = learner.adapt(state, rollouts)
    return AdaptedPolicy(learner, state, env.action_space, seed)
