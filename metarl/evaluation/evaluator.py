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

from metarl.environments.make import make_single
from metarl.errors import ConfigError
from metarl.evaluation.result import EvaluationResult
from metarl.interaction.demonstrations import Demonstrations
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.sampler import Clock, collect, require_rollout_memory
from metarl.learners.base import MetaLearner
from metarl.learners.demonstrated import require_demonstrations
from metarl.policies.arrays import to_array
from metarl.seeding import Purpose, content_keys, entropy
from metarl.trained_env import Environment, environment_of, fitting
from metarl_envs.protocol import TaskEnv
from metarl_envs.tasks.batches import Tasks, check_tasks, repeat, rows_of, take

CHOSEN = "chosen"  # the split of tasks that a user gave


class SupportDemonstrations(NamedTuple):
    """What an evaluation adapts to where it is not own rollouts.

    Attributes:
        demonstrations: of the tasks, in their order.
        episodes: of each adaptation step.
    """

    demonstrations: Demonstrations
    episodes: int

    def of_step(self, step: int) -> Rollouts:
        """The next ones in each step, from the first one again where there are no more."""
        first, have = step * self.episodes, self.demonstrations.episodes
        index = [(first + episode) % have for episode in range(self.episodes)]
        return self.demonstrations.of_episodes(index).rollouts

    def experience(self, adaptation_steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Different episodes (K+1,) and their steps (K+1, M) behind each adaptation step."""
        seen_K = np.arange(adaptation_steps + 1) * self.episodes
        seen_K = np.minimum(seen_K, self.demonstrations.episodes)
        lengths_ME = to_array(self.demonstrations.rollouts.lengths_ME)
        steps_ME = np.pad(np.cumsum(lengths_ME, axis=1), ((0, 0), (1, 0)))
        return seen_K, steps_ME[:, seen_K].T.astype(float)


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

    Raises:
        UserError: if the environment, the split or a size is not allowed.
    """
    config, horizon = environment_of(learner, env, env_kwargs, horizon)
    require_demonstrations(learner, demonstrations)
    if support_episodes is None and learner.adapts_after_each_episode:
        support_episodes = 1
    learned = episodes if support_episodes is None else support_episodes
    chosen = None if tasks is None else as_batch(tasks)
    if chosen is not None:
        split, num_tasks = CHOSEN, len(next(iter(chosen.values())))
    split = split if demonstrations is None else demonstrations.split
    sizes = dict(num_tasks=num_tasks, episodes=episodes, support_episodes=learned, horizon=horizon)
    _require_sizes(sizes, adaptation_steps, seed)
    with ExitStack() as opened:
        made = opened.enter_context(fitting(learner, config, num_tasks * episodes, horizon))
        for count in (episodes, support_episodes or 1):
            require_rollout_memory(learner, num_tasks, count, horizon, adaptation_steps + 1)
        batch = evaluation_tasks(made, split, num_tasks, seed, demonstrations, chosen)
        support: TaskEnv | SupportDemonstrations | None = None
        if demonstrations is not None:
            shown = demonstrations.of_tasks(range(num_tasks))
            support = SupportDemonstrations(shown, support_episodes or 1)
        elif support_episodes is not None:
            count = num_tasks * support_episodes
            support = opened.enter_context(fitting(learner, config, count, horizon))
        about = (config.id, batch, split, adaptation_steps, seed)
        return evaluate_tasks(learner, made, *about, horizon=horizon, support=support)


def as_batch(tasks: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Tasks that a user chose as arrays with leading axis M.

    Raises:
        ConfigError: if there is none.
    """
    wanted = "tasks must be arrays, one entry per task, by the keys of task_space"
    if not isinstance(tasks, Mapping):
        raise ConfigError(f"{wanted}; got a {type(tasks).__name__}")
    try:
        batch = {key: np.asarray(values, float) for key, values in tasks.items()}
    except (ValueError, TypeError):  # ragged, or no numbers
        raise ConfigError(wanted) from None
    if not batch or any(values.ndim == 0 or not len(values) for values in batch.values()):
        raise ConfigError(wanted)
    return batch


def _require_sizes(sizes: Mapping[str, int], adaptation_steps: int, seed: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{name} must be positive, got {size}")
    if adaptation_steps < 0 or seed < 0:
        raise ConfigError(
            f"adaptation_steps and seed must not be negative, got {adaptation_steps} and {seed}"
        )


def evaluation_tasks(
    env: TaskEnv,
    split: str,
    num_tasks: int,
    seed: int,
    demonstrations: Demonstrations | None = None,
    chosen: Mapping[str, np.ndarray] | None = None,
) -> Tasks:
    """The chosen tasks; else those of an evaluation with this seed, or that demonstrations show.

    Raises:
        ConfigError: if they show fewer.
    """
    if chosen is not None:
        return check_tasks(env.task_space, chosen)
    if demonstrations is not None:
        if demonstrations.num_tasks < num_tasks:
            raise ConfigError(
                f"demonstrations of {demonstrations.num_tasks} tasks, num_tasks is {num_tasks}"
            )
        return take(demonstrations.tasks, slice(num_tasks))
    return env.task_distribution(split).sample(num_tasks, entropy((seed, Purpose.TASKS)))


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
) -> EvaluationResult:
    """`evaluate` on given tasks, in an environment of M*E sub-environments.

    Adaptation learns from what is measured, or from `support`: rollouts in another environment, or
    demonstrations.

    The randomness of a task derives from its content: permuting tasks permutes results.
    """
    keys = content_keys(tasks)
    shown = support if isinstance(support, SupportDemonstrations) else None
    support_env = None if isinstance(support, SupportDemonstrations) else support
    learned_from = env if support_env is None else support_env
    for each in {id(e): e for e in (env, learned_from)}.values():
        each.set_tasks(repeat(tasks, each.num_envs // len(keys)))
    course = _Course(learner, env, support_env, shown, keys, horizon, seed)
    support_episodes = shown.episodes if shown else learned_from.num_envs // len(keys)
    measured, learned = course.follow(adaptation_steps, support_episodes)
    if shown is None:
        behind_K, steps_KM = _experience(learned, learner.pools_episodes, len(keys))
    else:
        behind_K, steps_KM = shown.experience(adaptation_steps)
    trained = learner.trained_on
    return EvaluationResult(
        env=env_id,
        split=split,
        seed=seed,
        tasks=tasks,
        returns=np.stack([to_array(rollouts.returns_ME.double()) for rollouts in measured]),
        diverged=np.stack([to_array(rollouts.diverged_ME) for rollouts in measured]),
        success=_success(measured),
        episodes_behind=behind_K,
        env_steps_behind=steps_KM,
        env_steps=course.clock.env_steps,
        checkpoint=None if trained is None else trained.checkpoint,
        held_out=not _seen_in_training(learner, env_id, tasks),
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
        return collect(env, self.learner, state, path, self.keys, self.horizon, self.clock)


def _success(measured: Sequence[Rollouts]) -> np.ndarray | None:
    """Success of every episode, where any step's environments report it: shape (K+1, M, E)."""
    reported = [rollouts.success_ME for rollouts in measured]
    if all(success_ME is None for success_ME in reported):
        return None
    return np.stack(
        [
            np.zeros(rollouts.returns_ME.shape, bool)
            if success_ME is None
            else to_array(success_ME)
            for rollouts, success_ME in zip(measured, reported, strict=True)
        ]
    )
