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

from metarl.interaction.rollouts import Rollouts
from metarl.params import Params
from metarl.policies.actors import to_array

PREFIX = "normalizer."
_CLIP = 10.0


class Normalizer:
    """Means and variances of observations, and the variance of rewards.

    Args:
        obs_size: O.
        observations: whether observations are normalised.
        rewards: whether rewards are divided by their standard deviation.
        device: where the statistics live.
    """

    def __init__(
        self, obs_size: int, observations: bool, rewards: bool, device: torch.device
    ) -> None:
        self.observations, self.rewards = observations, rewards
        # features: the observation, then the reward
        self._moments = {
            "count": torch.zeros(1, dtype=torch.float64, device=device),
            "mean": torch.zeros(obs_size + 1, dtype=torch.float64, device=device),
            "square": torch.ones(obs_size + 1, dtype=torch.float64, device=device),
        }

    def obs(self, obs: Tensor) -> Tensor:
        """Observations (..., O) as the policy sees them."""
        if not self.observations or not self._moments["count"]:
            return obs
        mean, std = self._mean_std()
        scaled = (obs - mean[:-1].to(obs.dtype)) / std[:-1].to(obs.dtype)
        return scaled.clamp(-_CLIP, _CLIP)

    def obs_seen(self, obs: np.ndarray) -> np.ndarray:
        """`obs` of an array, for acting."""
        return self._of_array(self.obs, obs) if self.observations else obs

    def reward_seen(self, rewards: np.ndarray) -> np.ndarray:
        """`reward` of an array, for acting."""
        return self._of_array(self.reward, rewards) if self.rewards else rewards

    def _of_array(self, function: Callable[[Tensor], Tensor], values: np.ndarray) -> np.ndarray:
        return to_array(function(torch.as_tensor(values, device=self._moments["mean"].device)))

    def reward(self, rewards: Tensor) -> Tensor:
        """Rewards as the policy and the baseline see them: scaled, not shifted."""
        if not self.rewards or not self._moments["count"]:
            return rewards
        return rewards / self._mean_std()[1][-1].to(rewards.dtype)

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

    def update(self, rollouts: Rollouts) -> None:
        """Take the valid steps of rollouts (not normalised ones) into the statistics."""
        if not (self.observations or self.rewards):
            return
        features = torch.cat([rollouts.obs_MEHO, rollouts.rewards_MEH.unsqueeze(-1)], dim=-1)
        valid = features[rollouts.valid_MEH].double()
        count = self._moments["count"] + len(valid)
        share = len(valid) / count.clamp(min=1.0)
        for name, new in (("mean", valid.mean(0)), ("square", valid.square().mean(0))):
            self._moments[name] = torch.lerp(self._moments[name], new, share)
        self._moments["count"] = count

    def _mean_std(self) -> tuple[Tensor, Tensor]:
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
        return {name: v for name, v in params.items() if not name.startswith(PREFIX)}
