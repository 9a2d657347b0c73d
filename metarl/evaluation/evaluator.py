"""How fast a meta-learner adapts to tasks it has not seen.

Needs only the learner's interface: `begin`, `actor`, `adapt`. For each of K+1 adaptation steps it
runs E episodes of every task and keeps their returns. The next adaptation learns from them, or from
support episodes of its own. Meta-parameters are never written.

Shapes: M tasks, E episodes.
"""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from typing import Any

from metarl.environments.make import make_single
from metarl.errors import ConfigError
from metarl.evaluation.course import Course
from metarl.evaluation.measured_tasks import SupportDemonstrations, as_batch, evaluation_tasks
from metarl.evaluation.result import EvaluationResult
from metarl.interaction.demonstrations import Demonstrations
from metarl.interaction.sampler import require_rollout_memory
from metarl.learners.base import MetaLearner, World
from metarl.learners.demonstrated import require_demonstrations
from metarl.seeding import content_keys
from metarl.trained_env import Environment, environment_of, fitting
from metarl_envs.mirror import mirror_of
from metarl_envs.protocol import TaskEnv
from metarl_envs.tasks.batches import Tasks, from_rows, repeat, rows_of, take
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
    shared = None if len(own) == count(tasks) else world
    course = Course(learner, env, support, keys, horizon, seed, shared)
    found, episodes_behind = course.follow(take(tasks, list(own)), adaptation_steps)
    trained = learner.trained_on
    return EvaluationResult(
        env=env_id,
        split=split,
        seed=seed,
        tasks=tasks,
        **(found if shared is None else found.of_all(shared)).arrays(),
        episodes_behind=episodes_behind,
        checkpoint=None if trained is None else trained.checkpoint,
        held_out=not _seen_in_training(learner, env_id, tasks),
    )


def _own_tasks(num_tasks: int, world: World | None) -> range:
    """Of this process; all of them where there are fewer than processes."""
    everyone = range(num_tasks)
    if world is None or num_tasks < world.size:
        return everyone
    return everyone[world.share(num_tasks)]


def _seen_in_training(learner: MetaLearner, env_id: str, tasks: Tasks) -> bool:
    """Whether training may have met any of these tasks: drawn it, or been shown it."""
    trained = learner.trained_on
    if trained is None or trained.env.id != env_id:
        return False
    if trained.tasks is not None:
        mine, shown = (rows_of(batch) for batch in (tasks, trained.tasks))
        return bool((mine[:, None] == shown[None]).all(-1).any())
    with closing(make_single(trained.env, None, trained.horizon)) as env:
        nominal = repeat(env.vector_env.tasks, count(tasks))  # what these tasks leave as it is
        met, whole = env.task_distribution("train").contains, {**nominal, **tasks}
        whole = {key: whole[key] for key in env.task_space.spaces}  # what training knows of
        if learner.needs_mirror:  # it knows of a task what it has learned in the image
            images = mirror_of(env.vector_env).task.of(rows_of(whole))
            if met(from_rows(env.task_space, images)).any():
                return True
        return bool(met(whole).any())
