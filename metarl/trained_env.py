"""The environment that a learner was trained in, for one who wants to use it there."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, overload

from metarl.environments.config import EnvConfig
from metarl.environments.fit import require_fit
from metarl.environments.make import make_env as make_batch
from metarl.environments.make import make_single, registered_horizon
from metarl.errors import ConfigError
from metarl.learners.base import MetaLearner, TrainedOn
from metarl_envs.protocol import TaskEnv
from metarl_envs.single_env import SingleTaskEnv
from metarl_envs.tasks.batches import batch_of_one, repeat


def training_of(learner: MetaLearner) -> TrainedOn:
    """Where a learner comes from.

    Raises:
        ConfigError: if it was built by hand.
    """
    if learner.trained_on is None:
        raise ConfigError("the learner does not know its environment: load it from a checkpoint")
    return learner.trained_on


@overload
def make_env(
    learner: MetaLearner,
    task: Mapping[str, Any] | None = None,
    *,
    num_envs: None = None,
    horizon: int | None = None,
    render_mode: str | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> SingleTaskEnv: ...


@overload
def make_env(
    learner: MetaLearner,
    task: Mapping[str, Any] | None = None,
    *,
    num_envs: int,
    horizon: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> TaskEnv: ...


def make_env(
    learner: MetaLearner,
    task: Mapping[str, Any] | None = None,
    *,
    num_envs: int | None = None,
    horizon: int | None = None,
    render_mode: str | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> SingleTaskEnv | TaskEnv:
    """The environment of a learner's training: id, arguments, plug-in, observation and horizon.

    Args:
        learner: a meta-learner, see `metarl.load`.
        task: by the keys of its `task_space`; None for the nominal one.
        num_envs: None for one environment, a `gymnasium.Env`; else a batch of so many, a
            `gymnasium.vector.VectorEnv`, all with this task (`set_tasks` gives each its own).
        horizon: longest episode in steps; that of training by default.
        render_mode: of one environment, "human" or "rgb_array".
        env_kwargs: constructor arguments; those of training by default.

    Raises:
        UserError: if the learner was built by hand, or a task or size is not allowed.
    """
    trained = training_of(learner)
    config, horizon = environment_of(learner, trained.env.id, env_kwargs, horizon)
    for name, size in (("horizon", horizon), ("num_envs", num_envs)):
        if size is not None and size < 1:
            raise ConfigError(f"{name} must be positive, got {size}")
    if num_envs is None:
        return make_single(config, task, horizon, render_mode)
    if render_mode is not None:
        raise ConfigError("render_mode is for one environment: leave num_envs out")
    batch = make_batch(config, num_envs, horizon)
    if task is not None:
        batch.set_tasks(repeat(batch_of_one(task), num_envs))
    return batch


Environment = str | EnvConfig


def environment_of(
    learner: MetaLearner, env: Environment, kwargs: Mapping[str, Any] | None, horizon: int | None
) -> tuple[EnvConfig, int]:
    """An environment by id or config, and its horizon: as in training if it is that one.

    Raises:
        ConfigError: if the arguments are no mapping.
    """
    if not isinstance(kwargs, Mapping | None):
        raise ConfigError(f"env_kwargs must be a mapping from argument to value, got {kwargs!r}")
    trained = learner.trained_on
    if not isinstance(env, str):
        config = env if kwargs is None else env.model_copy(update={"kwargs": dict(kwargs)})
        env_id = env.id
    elif trained is not None and trained.env.id == env:
        config, env_id = trained.env, env
        if kwargs is not None:
            config = config.model_copy(update={"kwargs": dict(kwargs)})
    else:
        config, env_id = EnvConfig(id=env, kwargs=dict(kwargs or {})), env
    if horizon is None:
        same = trained is not None and trained.env.id == env_id
        horizon = trained.horizon if same and trained else registered_horizon(env_id)
    return config, horizon or 0


@contextmanager
def fitting(
    learner: MetaLearner, config: EnvConfig, num_envs: int, horizon: int
) -> Iterator[TaskEnv]:
    """A batch that the learner can act in, closed in the end.

    Raises:
        EnvironmentFitError: if its spaces are others than those of training.
    """
    with closing(make_batch(config, num_envs, horizon)) as env:
        require_fit(config.id, env.single_observation_space, env.single_action_space, learner.spec)
        yield env
