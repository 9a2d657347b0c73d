"""Record an expert's episodes as a Minari dataset, one folder for a list of tasks.

metarl record_demonstrations runs/reacher_goal/oracle-seed0 --split train \
    --num-tasks 200 --episodes 4 --output demonstrations/reacher_goal_train

The expert is a run, a checkpoint or zoo:ENV/METHOD, adapted to each task first where
--adaptation-steps says so; one that is told the task demonstrates for those who are not. With
--sb3 PPO it is a model of stable-baselines3, whose file is a pickle: reading it runs what it says.
"""

import argparse

import metarl
from metarl.environments.config import EnvConfig
from metarl.environments.make import registered_horizon
from metarl.errors import ConfigError
from metarl.evaluation.demonstrate import Expert, demonstrate
from metarl.evaluation.sb3_expert import SB3Expert
from metarl.interaction.minari_files import require_new, write_demonstrations
from metarl.trained_env import environment_of, training_of


def main(arguments: argparse.Namespace) -> None:
    """Parse, load, record, write."""
    require_new(arguments.output)
    expert, env, horizon = _expert(arguments)
    names = ("split", "num_tasks", "episodes", "adaptation_steps", "support_episodes", "seed")
    chosen = {name: getattr(arguments, name) for name in names}
    recorded = demonstrate(expert, env, horizon=horizon, likeliest=not arguments.sampled, **chosen)
    about = {"algorithm_name": arguments.sb3 or arguments.path, "description": env.id}
    write_demonstrations(
        recorded.demonstrations,
        arguments.output,
        recorded.observation_space,
        recorded.action_space,
        about,
    )
    rollouts = recorded.demonstrations.rollouts
    print(
        f"{arguments.num_tasks} tasks x {arguments.episodes} episodes, {rollouts.num_steps:,} "
        f"steps, mean return {float(rollouts.returns_ME.mean()):.4g}; in {arguments.output}"
    )


def _expert(arguments: argparse.Namespace) -> tuple[Expert, EnvConfig, int]:
    """Who acts, where, and for how long."""
    if arguments.sb3 is not None:
        if arguments.env is None:
            raise ConfigError("--sb3 needs --env: a model does not say where it was trained")
        expert = SB3Expert(arguments.sb3, arguments.path)
        horizon = registered_horizon(arguments.env)
        return expert, EnvConfig(id=arguments.env), horizon or 1000
    learner = metarl.load(arguments.path, trust_imports=arguments.allow_import)
    env = arguments.env or training_of(learner).env.id
    return learner, *environment_of(learner, env, None, None)
