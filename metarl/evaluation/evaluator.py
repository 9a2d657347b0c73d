"""How fast a meta-learner adapts to tasks it has not seen.

Needs only the learner's interface: `begin`, `actor`, `adapt`. For each of K+1 adaptation steps it
runs E episodes of every task and keeps their returns. The next adaptation learns from them, or from
support episodes of its own. Meta-parameters are never written.

Shapes: M tasks, E episodes.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl.environments.make import make_single
from metarl.errors import ConfigError
from metarl.evaluation.measured_tasks import SupportDemonstrations, as_batch, evaluation_tasks
from metarl.evaluation.result import EvaluationResult
from metarl.interaction.demonstrations import Demonstrations
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.sampler import Clock, collect, require_rollout_memory
from metarl.learners.base import MetaLearner, World
from metarl.learners.demonstrated import require_demonstrations
from metarl.learners.together import among_all
from metarl.policies.arrays import to_array, to_tensor
from metarl.seeding import Purpose, content_keys
from metarl.trained_env import Environment, environment_of, fitting
from metarl_envs.protocol import TaskEnv
from metarl_envs.tasks.batches import Tasks, repeat, rows_of, take
from metarl_envs.tasks.batches import num_tasks as count

CHOSEN = "chosen"  # the split of tasks that a user gave


def evaluate(
    learner: MetaLearner,
    env: Environment,
    *,
    split: str = "test",
    num_tasks: int = 40,
    episodes: int = 20,
    support_episodes: int | None = None,
    adaptation_steps: int = 3,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    horizon: int | None = None,
    tasks: Mapping[str, Any] | None = None,
    demonstrations: Demonstrations | None = None,
    world: World | None = None,
) -> EvaluationResult:
    """Adapt to each of `num_tasks` tasks of a split and measure the return at every step.

    Args:
        learner: a meta-learner, see `metarl.load`.
        env: Gymnasium id of a task environment, or an `EnvConfig`.
        split: "test", "gap" or "extrapolation" (held out), "validation", or "train".
        num_tasks: M.
        episodes: E, rollouts per task that measure each step.
        support_episodes: rollouts per task that each adaptation learns from; None for those that
            were measured, or for one where the learner adapts after each episode (PEARL).
        adaptation_steps: K; any number, whatever it was in training.
        seed: of tasks, initial states and action noise.
        env_kwargs: constructor arguments; those of training if `env` is the id that the learner
            was trained on, else none.
        horizon: longest episode in steps; by default that of training, or the registered one.
        tasks: these in place of a split's, one array per key of its `task_space`, leading axis M;
            the result's split is "chosen".
        demonstrations: what a learner adapts to that learns from them, `support_episodes` in each
            step (one by default); the first M of their tasks take the place of the split's, and the
            result's split is theirs.
        world: processes that share the tasks, see `experiment.world`; each gets the whole result.

    Raises:
        UserError: if the environment, the split or a size is not allowed.
    """
    config, horizon = environment_of(learner, env, env_kwargs, horizon)
    require_demonstrations(learner, demonstrations)
    if support_episodes is None and learner.adapts_after_each_episode:
        support_episodes = 1
    chosen = None if tasks is None else as_batch(tasks)
    if chosen is not None:
        split, num_tasks = CHOSEN, count(chosen)
    split = split if demonstrations is None else demonstrations.split
    sizes = dict(num_tasks=num_tasks, episodes=episodes, horizon=horizon)
    _require_sizes({**sizes, "support_episodes": support_episodes}, adaptation_steps, seed)
    own = _own_tasks(num_tasks, world)
    with ExitStack() as opened:
        made = opened.enter_context(fitting(learner, config, len(own) * episodes, horizon))
        for each in (episodes, support_episodes or 1):
            require_rollout_memory(learner, len(own), each, horizon, adaptation_steps + 1)
        batch = evaluation_tasks(made, split, num_tasks, seed, demonstrations, chosen)
        support: TaskEnv | SupportDemonstrations | None = None
        if demonstrations is not None:
            support = SupportDemonstrations(demonstrations.of_tasks(own), support_episodes or 1)
        elif support_episodes is not None:
            envs = len(own) * support_episodes
            support = opened.enter_context(fitting(learner, config, envs, horizon))
        about = (config.id, batch, split, adaptation_steps, seed)
        return evaluate_tasks(learner, made, *about, horizon=horizon, support=support, world=world)


def _require_sizes(sizes: Mapping[str, int | None], adaptation_steps: int, seed: int) -> None:
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ConfigError(f"{name} must be positive, got {size}")
    if adaptation_steps < 0 or seed < 0:
        raise ConfigError(
            f"adaptation_steps and seed must not be negative, got {adaptation_steps} and {seed}"
        )


def evaluate_tasks(
    learner: MetaLearner,
    env: TaskEnv,
    env_id: str,
    tasks: Tasks,
    split: str,
    adaptation_steps: int,
    seed: int,
    *,
    horizon: int,
    support: TaskEnv | SupportDemonstrations | None = None,
    world: World | None = None,
) -> EvaluationResult:
    """`evaluate` on given tasks, in an environment of E sub-environments for each own task.

    Adaptation learns from what is measured, or from `support`: rollouts in another environment, or
    demonstrations.

    The randomness of a task derives from its content: permuting tasks permutes results.
    """
    own = _own_tasks(count(tasks), world)
    keys = [key for index, key in enumerate(content_keys(tasks)) if index in own]
    all_tasks, tasks = tasks, take(tasks, list(own))
    shown = support if isinstance(support, SupportDemonstrations) else None
    support_env = None if isinstance(support, SupportDemonstrations) else support
    learned_from = env if support_env is None else support_env
    for each in {id(e): e for e in (env, learned_from)}.values():
        each.set_tasks(repeat(tasks, each.num_envs // len(keys)))
    shared = None if world is None or len(keys) == count(all_tasks) else world
    course = _Course(learner, env, support_env, shown, keys, horizon, seed, shared)
    support_episodes = shown.episodes if shown else learned_from.num_envs // len(keys)
    measured, learned = course.follow(adaptation_steps, support_episodes)
    if shown is None:
        behind_K, steps_KM = _experience(learned, learner.pools_episodes, len(keys))
    else:
        behind_K, steps_KM = shown.experience(adaptation_steps)
    trained = learner.trained_on
    found = _Found(
        torch.stack([rollouts.returns_ME.double() for rollouts in measured], 1),
        torch.stack([rollouts.diverged_ME for rollouts in measured], 1),
        _success(measured),
        to_tensor(np.ascontiguousarray(steps_KM.T)),
        course.clock.env_steps,
    )
    if shared is not None:
        found = found.of_all(shared)
    return EvaluationResult(
        env=env_id,
        split=split,
        seed=seed,
        tasks=all_tasks,
        returns=to_array(found.returns_MKE.transpose(0, 1)),
        diverged=to_array(found.diverged_MKE.transpose(0, 1)),
        success=None if found.success_MKE is None else to_array(found.success_MKE.transpose(0, 1)),
        episodes_behind=behind_K,
        env_steps_behind=to_array(found.steps_MK.T),
        env_steps=found.env_steps,
        checkpoint=None if trained is None else trained.checkpoint,
        held_out=not _seen_in_training(learner, env_id, all_tasks),
    )


def _own_tasks(num_tasks: int, world: World | None) -> range:
    """Of this process; all of them where there are fewer than processes."""
    everyone = range(num_tasks)
    if world is None or num_tasks < world.size:
        return everyone
    return everyone[world.share(num_tasks)]


class _Found(NamedTuple):
    """What an evaluation found on the tasks of this process."""

    returns_MKE: Tensor
    diverged_MKE: Tensor
    success_MKE: Tensor | None
    steps_MK: Tensor
    env_steps: int

    def of_all(self, world: World) -> "_Found":
        """What it found on those of all processes."""
        success = self.success_MKE
        if not world.all(success is None):  # some task has reported it
            never = torch.zeros_like(self.diverged_MKE)
            success = world.gather(never if success is None else success)
        steps = torch.tensor([[self.env_steps]], device=self.steps_MK.device)
        return _Found(
            world.gather(self.returns_MKE),
            world.gather(self.diverged_MKE),
            success,
            world.gather(self.steps_MK),
            int(world.gather(steps).sum()),
        )


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


def _seen_in_training(learner: MetaLearner, env_id: str, tasks: Tasks) -> bool:
    """Whether training may have met any of these tasks: drawn it, or been shown it."""
    trained = learner.trained_on
    if trained is None or trained.env.id != env_id:
        return False
    if trained.tasks is not None:
        mine, shown = (rows_of(batch) for batch in (tasks, trained.tasks))
        return bool((mine[:, None] == shown[None]).all(-1).any())
    with closing(make_single(trained.env, None, trained.horizon)) as env:
        return bool(env.task_distribution("train").contains(tasks).any())


@dataclass
class _Course:
    """One learner's way through the adaptation steps, on tasks that are set."""

    learner: MetaLearner
    env: TaskEnv
    support_env: TaskEnv | None
    shown: SupportDemonstrations | None
    keys: Sequence[int]
    horizon: int
    seed: int
    world: World | None
    clock: Clock = field(default_factory=Clock)

    def follow(
        self, adaptation_steps: int, support_episodes: int
    ) -> tuple[list[Rollouts], list[Rollouts]]:
        """The rollouts that measure each step, and those that each adaptation learned from."""
        state = self.learner.begin(len(self.keys), support_episodes)
        measured, learned = [self._run(self.env, state, Purpose.EVALUATION, 0)], list[Rollouts]()
        for step in range(adaptation_steps):
            support = measured[-1]
            if self.shown is not None:
                support = self.shown.of_step(step)
            elif self.support_env is not None:
                support = self._run(self.support_env, state, Purpose.EVALUATION_SUPPORT, step)
            learned.append(support)
            state = self.learner.adapt(state, support)
            measured.append(self._run(self.env, state, Purpose.EVALUATION, step + 1))
        return measured, learned

    def _run(self, env: TaskEnv, state: object, purpose: Purpose, step: int) -> Rollouts:
        path = (self.seed, purpose, step)
        made = collect(env, self.learner, state, path, self.keys, self.horizon, self.clock)
        return made if self.world is None else among_all(made, self.world)


def _success(measured: Sequence[Rollouts]) -> Tensor | None:
    """Success of every episode, where any step's environments report it: shape (M, K+1, E)."""
    if all(rollouts.success_ME is None for rollouts in measured):
        return None
    reported = [rollouts.with_success().success_ME for rollouts in measured]
    return torch.stack([success_ME for success_ME in reported if success_ME is not None], 1)
