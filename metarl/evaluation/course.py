"""A learner's way through the adaptation steps of an evaluation, and what came of it.

Shapes: K adaptation steps and the one before any, M tasks of this process, E episodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl.evaluation.measured_tasks import SupportDemonstrations
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.sampler import Clock, collect
from metarl.learners.base import MetaLearner, World
from metarl.learners.together import among_all
from metarl.policies.arrays import to_array, to_tensor
from metarl.seeding import Purpose
from metarl_envs.protocol import TRACKING_ERROR, TaskEnv
from metarl_envs.tasks.batches import Tasks, repeat


class Found(NamedTuple):
    """What an evaluation found on the tasks of this process."""

    returns_MKE: Tensor
    diverged_MKE: Tensor
    success_MKE: Tensor | None
    steps_MK: Tensor
    rewards_MKH: Tensor
    errors_MKH: Tensor
    env_steps: int

    @staticmethod
    def of_course(measured: Sequence[Rollouts], steps_KM: np.ndarray, env_steps: int) -> "Found":
        """What the rollouts of each adaptation step came to, and the experience behind it."""
        return Found(
            torch.stack([rollouts.returns_ME.double() for rollouts in measured], 1),
            torch.stack([rollouts.diverged_ME for rollouts in measured], 1),
            _success(measured),
            to_tensor(np.ascontiguousarray(steps_KM.T)),
            torch.stack([(r.rewards_MEH * r.valid_MEH).mean(1) for r in measured], 1),
            torch.stack([_tracking_errors(rollouts) for rollouts in measured], 1),
            env_steps,
        )

    def arrays(self) -> dict[str, Any]:
        """The same for an `EvaluationResult`, adaptation steps first."""
        success = self.success_MKE
        return {
            "returns": to_array(self.returns_MKE.transpose(0, 1)),
            "diverged": to_array(self.diverged_MKE.transpose(0, 1)),
            "success": None if success is None else to_array(success.transpose(0, 1)),
            "env_steps_behind": to_array(self.steps_MK.T),
            "step_rewards": to_array(self.rewards_MKH.transpose(0, 1)),
            "step_errors": to_array(self.errors_MKH.transpose(0, 1)),
            "env_steps": self.env_steps,
        }

    def of_all(self, world: World) -> "Found":
        """What it found on those of all processes."""
        success = self.success_MKE  # None in all processes or in none, see `among_all`
        steps = torch.tensor([[self.env_steps]], device=self.steps_MK.device)
        return Found(
            world.gather(self.returns_MKE),
            world.gather(self.diverged_MKE),
            None if success is None else world.gather(success),
            world.gather(self.steps_MK),
            world.gather(self.rewards_MKH),
            world.gather(self.errors_MKH),
            int(world.gather(steps).sum()),
        )


@dataclass
class Course:
    """One learner on some tasks.

    Attributes:
        learner: adapts.
        env: in which each step is measured, E sub-environments for each task.
        support: what adaptation learns from, if not from what is measured.
        keys: of the tasks, in streams of random numbers.
        horizon: longest episode.
        seed: of the evaluation.
        world: processes that share its tasks, or None.
        clock: where steps and seconds are counted.
    """

    learner: MetaLearner
    env: TaskEnv
    support: TaskEnv | SupportDemonstrations | None
    keys: Sequence[int]
    horizon: int
    seed: int
    world: World | None
    clock: Clock = field(default_factory=Clock)

    def follow(self, tasks: Tasks, adaptation_steps: int) -> tuple[Found, np.ndarray]:
        """What each step came to, and the episodes (K+1,) of experience behind it."""
        shown = self.support if isinstance(self.support, SupportDemonstrations) else None
        support_env = None if isinstance(self.support, SupportDemonstrations) else self.support
        learned_from = self.env if support_env is None else support_env
        count = len(self.keys)
        for each in {id(e): e for e in (self.env, learned_from)}.values():
            each.set_tasks(repeat(tasks, each.num_envs // count))
        episodes = shown.episodes if shown else learned_from.num_envs // count
        state = self.learner.begin(count, episodes)
        measured, learned = [self._run(self.env, state, Purpose.EVALUATION, 0)], list[Rollouts]()
        for step in range(adaptation_steps):
            support = measured[-1]
            if shown is not None:
                support = shown.of_step(step)
            elif support_env is not None:
                support = self._run(support_env, state, Purpose.EVALUATION_SUPPORT, step)
            learned.append(support)
            state = self.learner.adapt(state, support)
            measured.append(self._run(self.env, state, Purpose.EVALUATION, step + 1))
        if shown is None:
            behind_K, steps_KM = _experience(learned, self.learner.pools_episodes, count)
        else:
            behind_K, steps_KM = shown.experience(adaptation_steps)
        return Found.of_course(measured, steps_KM, self.clock.env_steps), behind_K

    def _run(self, env: TaskEnv, state: object, purpose: Purpose, step: int) -> Rollouts:
        path = (self.seed, purpose, step)
        made = collect(env, self.learner, state, path, self.keys, self.horizon, self.clock)
        return made if self.world is None else among_all(made, self.world)


def _experience(
    learned: Sequence[Rollouts], pooled: bool, num_tasks: int
) -> tuple[np.ndarray, np.ndarray]:
    """Episodes (K+1,) and steps (K+1, M) behind each adaptation step."""
    episodes = [rollouts.valid_MEH.shape[1] for rollouts in learned]
    # an episode that belongs to a trial of its own is no experience of the others
    shares = [1.0 if pooled else 1.0 / count for count in episodes]
    counts = [round(share * count) for share, count in zip(shares, episodes, strict=True)]
    parts = zip(shares, learned, strict=True)
    steps_KM = [share * to_array(rollouts.steps_M) for share, rollouts in parts]
    steps_KM = [np.zeros(num_tasks), *steps_KM]
    return np.cumsum([0, *counts]), np.cumsum(steps_KM, axis=0)


def _tracking_errors(rollouts: Rollouts) -> Tensor:
    """Mean over the episodes that run, of each step; NaN where none does or reports: (M, H)."""
    reported_MEH = rollouts.extras.get(TRACKING_ERROR, torch.full_like(rollouts.rewards_MEH, nan))
    return torch.where(rollouts.valid_MEH, reported_MEH, nan).nanmean(1)


def _success(measured: Sequence[Rollouts]) -> Tensor | None:
    """Success of every episode, where any step's environments report it: shape (M, K+1, E)."""
    if all(rollouts.success_ME is None for rollouts in measured):
        return None
    reported = [rollouts.with_success().success_ME for rollouts in measured]
    return torch.stack([success_ME for success_ME in reported if success_ME is not None], 1)
