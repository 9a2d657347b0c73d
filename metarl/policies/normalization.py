"""Running normalisation of observations and rewards, the same for all tasks.

Statistics are pooled over the training tasks and change only between iterations: within one, every
rollout of every task is seen through the same numbers, so that ratios stay one at the sampling
parameters and no task is told apart by its own scale. They are saved with the policy.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from metarl.config_model import ConfigModel
from metarl.interaction.rollouts import Rollouts
from metarl.params import Params
from metarl.policies.arrays import to_array, to_tensor

PREFIX = "normalizer."
_CLIP = 10.0


class NormalizationConfig(ConfigModel):
    """What is normalised by running statistics over all training tasks, saved with the policy."""

    observations: bool = False
    """Shift and scale them by their running mean and deviation."""
    rewards: bool = False
    """Divide by their running standard deviation."""


class Normalizer:
    """Means and variances of observations, and the variance of rewards.

    Args:
        obs_size: O.
        config: what is normalised.
        device: where the statistics live.
    """

    def __init__(self, obs_size: int, config: NormalizationConfig, device: torch.device) -> None:
        self.observations, self.rewards = config.observations, config.rewards
        # features: the observation, then the reward
        self._moments = {
            "count": torch.zeros(1, dtype=torch.float64, device=device),
            "mean": torch.zeros(obs_size + 1, dtype=torch.float64, device=device),
            "square": torch.ones(obs_size + 1, dtype=torch.float64, device=device),
        }
        self._known = False  # no tensor, so that an exported policy branches on nothing

    def obs(self, obs: Tensor) -> Tensor:
        """Observations (..., O) as the policy sees them."""
        if not self.observations or not self._known:
            return obs
        mean, std = self.mean_std()
        scaled = (obs - mean[:-1].to(obs.dtype)) / std[:-1].to(obs.dtype)
        return scaled.clamp(-_CLIP, _CLIP)

    def normalize_obs(self, obs: np.ndarray) -> np.ndarray:
        """`obs` of an array, for acting."""
        return self._of_array(self.obs, obs) if self.observations else obs

    def normalize_reward(self, rewards: np.ndarray) -> np.ndarray:
        """`reward` of an array, for acting."""
        return self._of_array(self.reward, rewards) if self.rewards else rewards

    def _of_array(self, function: Callable[[Tensor], Tensor], values: np.ndarray) -> np.ndarray:
        return to_array(function(to_tensor(values, self._moments["mean"].device)))

    def reward(self, rewards: Tensor) -> Tensor:
        """Rewards as the policy and the baseline see them: scaled, not shifted."""
        if not self.rewards or not self._known:
            return rewards
        return rewards / self.mean_std()[1][-1].to(rewards.dtype)

    def rollouts(self, rollouts: Rollouts) -> Rollouts:
        """The same rollouts with normalised observations and rewards."""
        if not (self.observations or self.rewards):
            return rollouts
        return replace(
            rollouts,
            obs_MEHO=self.obs(rollouts.obs_MEHO),
            last_obs_MEO=self.obs(rollouts.last_obs_MEO),
            rewards_MEH=self.reward(rollouts.rewards_MEH),
        )

    def update(self, rollouts: Rollouts, sum_over_tasks: Callable[[Tensor], Tensor]) -> None:
        """Take the valid steps of rollouts (not normalised ones) into the statistics.

        Args:
            rollouts: of this process's tasks.
            sum_over_tasks: (M, P) -> (P,), over the tasks of all processes.
        """
        if not (self.observations or self.rewards):
            return
        features = torch.cat([rollouts.obs_MEHO, rollouts.rewards_MEH.unsqueeze(-1)], dim=-1)
        valid = rollouts.valid_MEH.unsqueeze(-1).double()
        values = torch.where(rollouts.valid_MEH.unsqueeze(-1), features.double(), 0.0)
        sums_MP = torch.cat([v.sum((1, 2)) for v in (valid, values, values.square())], dim=1)
        new_count, new_sum, new_square = sum_over_tasks(sums_MP).split(
            [1, features.shape[-1], features.shape[-1]]
        )
        if not new_count:
            return
        count = self._moments["count"] + new_count
        for name, total in (("mean", new_sum), ("square", new_square)):
            old = self._moments[name]
            self._moments[name] = old + (total - new_count * old) / count
        self._moments["count"], self._known = count, True

    def mean_std(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each observation, then of the reward: shape (O + 1,)."""
        mean = self._moments["mean"]
        variance = (self._moments["square"] - mean.square()).clamp(min=1e-8)
        return mean, variance.sqrt()

    def state(self) -> Params:
        """The statistics, to be saved beside the policy's parameters; empty if not in use."""
        if not (self.observations or self.rewards):
            return {}
        return {f"{PREFIX}{name}": value for name, value in self._moments.items()}

    def load(self, params: Mapping[str, Tensor]) -> Params:
        """Take the statistics out of saved parameters; returns the others."""
        for name in self._moments:
            if f"{PREFIX}{name}" in params:
                self._moments[name] = params[f"{PREFIX}{name}"].to(self._moments[name]).clone()
        self._known = bool(self._moments["count"] > 0)
        return {name: v for name, v in params.items() if not name.startswith(PREFIX)}
