"""Rewards that guide meta-training and are absent at test: what adaptation sees stays as it is."""

from dataclasses import replace

from metarl.errors import ConfigError
from metarl.interaction.rollouts import Rollouts
from metarl_envs.protocol import TRAINING_REWARD


def with_training_reward(rollouts: Rollouts) -> Rollouts:
    """The same rollouts, `info["training_reward"]` in the place of the reward.

    Raises:
        ConfigError: if the environment reports none.
    """
    if TRAINING_REWARD not in rollouts.extras:
        needed = f"an environment that reports info[{TRAINING_REWARD!r}]"
        raise ConfigError(f"learner.training_reward needs {needed}, and this one does not")
    return replace(rollouts, rewards_MEH=rollouts.extras[TRAINING_REWARD])
