"""How fast a meta-learner adapts to tasks it has not seen.

Needs only the learner's interface: `begin`, `act`, `adapt`. For each of K+1 adaptation steps it
runs E episodes of every task and keeps their returns; the rollouts of one step are what the next
adaptation learns from. Meta-parameters are never written.

Shapes: M tasks, E episodes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from metarl.environments.config import EnvConfig
from metarl.environments.make import make_env, registered_horizon, require_fit
from metarl.errors import ConfigError
from metarl.evaluation.result import EvaluationResult
from metarl.interaction.rollouts import Clock, collect
from metarl.learners.base import MetaLearner
from metarl.seeding import Purpose, content_keys
from metarl_envs.protocol import TaskEnv
from metarl_envs.tasks.batches import Tasks, repeat


def evaluate(
    learner: MetaLearner,
    env_id: str,
    *,
    split: str = "test",
    num_tasks: int = 40,
    episodes: int = 20,
    adaptation_steps: int = 3,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    horizon: int | None = None,
) -> EvaluationResult:
    """Adapt to each of `num_tasks` tasks of a split and measure the return at every step.

    Args:
        learner: a meta-learner, see `metarl.load`.
        env_id: Gymnasium id of a task environment.
        split: "test" (held out), "extrapolation", or "train".
        num_tasks: M.
        episodes: E, rollouts per task and adaptation step.
        adaptation_steps: K; any number, whatever it was in training.
        seed: of tasks, initial states and action noise.
        env_kwargs: constructor arguments; those of training if `env_id` is what the learner
            was trained on, else none.
        horizon: longest episode in steps; by default that of training, or the registered one.

    Raises:
        UserError: if the environment, the split or a size is not allowed.
    """
    trained = learner.trained_on
    plugin, observe_task = None, False
    if trained is not None and trained.env.id == env_id:
        plugin, observe_task = trained.env.plugin, trained.env.observe_task
        env_kwargs = trained.env.kwargs if env_kwargs is None else env_kwargs
        horizon = trained.horizon if horizon is None else horizon
    horizon = registered_horizon(env_id) if horizon is None else horizon
    sizes = {"num_tasks": num_tasks, "episodes": episodes, "horizon": horizon or 0}
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{name} must be positive, got {size}")
    if adaptation_steps < 0 or seed < 0:
        raise ConfigError(
            f"adaptation_steps and seed must not be negative, got {adaptation_steps} and {seed}"
        )
    assert horizon is not None
    config = EnvConfig(
        id=env_id, kwargs=dict(env_kwargs or {}), plugin=plugin, observe_task=observe_task
    )
    env = make_env(config, num_tasks * episodes, horizon)
    try:
        require_fit(env_id, env.single_observation_space, env.single_action_space, learner.spec)
        tasks = env.task_distribution(split).sample(num_tasks, (seed, Purpose.TASKS))
        return evaluate_tasks(
            learner, env, env_id, tasks, split, adaptation_steps, seed, horizon=horizon
        )
    finally:
        env.close()


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
) -> EvaluationResult:
    """`evaluate` on given tasks, in an environment of M*E sub-environments.

    The randomness of a task derives from its content: permuting tasks permutes results.
    """
    keys = content_keys(tasks)
    episodes = env.num_envs // len(keys)
    env.set_tasks(repeat(tasks, episodes))
    state, clock = learner.begin(len(keys), episodes), Clock()
    returns, successes = [], []
    for step in range(adaptation_steps + 1):
        path = (seed, Purpose.EVALUATION, step)
        rollouts, state = collect(env, learner, state, path, keys, horizon, clock)
        returns.append(rollouts.returns_ME.double().cpu().numpy())
        if rollouts.success_ME is not None:
            successes.append(rollouts.success_ME.cpu().numpy())
        if step < adaptation_steps:
            state = learner.adapt(state, rollouts)
    trained = learner.trained_on
    return EvaluationResult(
        env=env_id,
        split=split,
        seed=seed,
        tasks=tasks,
        returns=np.stack(returns),
        success=np.stack(successes) if successes else None,
        env_steps=clock.env_steps,
        checkpoint=None if trained is None else trained.checkpoint,
        held_out=split != "train" and not env.shares_tasks,
    )
