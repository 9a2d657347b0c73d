"""Demonstrations for tests, by an expert that knows nothing."""

from small_runs import SmallRun

from metarl.environments.config import EnvConfig
from metarl.evaluation.demonstrate import demonstrate
from metarl.interaction.minari_files import write_demonstrations


def demonstrate_by_chance(folder, env, num_tasks=3, episodes=3, h=8, split="train", **choice):
    """A dataset of random episodes; returns what it holds."""
    config = SmallRun("random_init").config.model_copy(update={"env": EnvConfig(**env)})
    found = demonstrate(
        SmallRun.of_config(config).learner,
        config.env,
        horizon=h,
        split=split,
        num_tasks=num_tasks,
        episodes=episodes,
        **choice,
    )
    about = {"algorithm_name": "chance"}
    write_demonstrations(
        found.demonstrations, folder, found.observation_space, found.action_space, about
    )
    return found
