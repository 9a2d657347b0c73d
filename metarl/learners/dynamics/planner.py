"""Model-predictive control: the best of many sequences of actions, judged by a model.

Random shooting draws them once; the cross-entropy method (de Boer et al. 2005) draws again around
the best ones. Shapes: R robots, C candidates, H steps ahead, O observation, A action.
"""

import math

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from metarl.config_model import ConfigModel
from metarl.environments.fit import Spec
from metarl.learners.dynamics.model import DynamicsModel
from metarl.params import Params
from metarl.policies.arrays import to_tensor
from metarl_envs.memory import require_memory

_COPIES = 3  # of the noise, at once
_FARTHEST = 1e6  # of a predicted reward or observation: what explodes is no plan


class PlannerConfig(ConfigModel):
    """How actions are chosen with a model."""

    horizon: PositiveInt = 10
    """Steps ahead."""
    candidates: PositiveInt = 200
    """Sequences of actions in each round."""
    rounds: PositiveInt = 3
    """Of the cross-entropy method; one is random shooting around the plan of the step before."""
    elites: PositiveInt = 20
    """Best candidates, around whose mean the next round draws."""
    init_std: PositiveFloat = 0.5
    """Standard deviation of the first round, relative to half the range of actions."""

    @model_validator(mode="after")
    def _elites_are_some(self) -> "PlannerConfig":
        if self.elites > self.candidates:
            raise ValueError(f"elites = {self.elites} are more than candidates = {self.candidates}")
        return self


class Planner:
    """Plans for all robots in stacked calls.

    Args:
        config: see there.
        model: predicts.
        spec: range of actions.
    """

    def __init__(self, config: PlannerConfig, model: DynamicsModel, spec: Spec) -> None:
        self.config, self._model = config, model
        like = next(iter(model.theta.values()))
        low, high = (like.new_tensor(bound) for bound in (spec.action_low, spec.action_high))
        self._middle_A, self._half_A = (low + high) / 2, (high - low) / 2
        self._shape = (config.rounds, config.candidates, config.horizon, len(low))
        numbers = _COPIES * math.prod(self._shape)
        require_memory("plans of one robot", 4 * numbers, stored=False)

    def draw(self, seeds_R: np.ndarray) -> Tensor:
        """Standard normal numbers for the candidates of each robot, from its seed."""
        drawn = np.empty((len(seeds_R), *self._shape), np.float32)
        for row, seed in zip(drawn, seeds_R.tolist(), strict=True):
            generator = np.random.Generator(np.random.SFC64(seed))
            generator.standard_normal(dtype=np.float32, out=row)
        return to_tensor(drawn, self._half_A.device).to(self._half_A)

    def plan(self, params_R: Params, obs_RO: Tensor, start_RHA: Tensor, noise: Tensor) -> Tensor:
        """The plan of each robot, in units of half the range of actions: shape (R, H, A).

        Args:
            params_R: of each robot's model.
            obs_RO: now.
            start_RHA: where the first round draws around.
            noise: of `draw`, shape (R, rounds, C, H, A).
        """
        mean_RHA, std_RHA = start_RHA, torch.full_like(start_RHA, self.config.init_std)
        best_RHA, best_R = start_RHA, torch.full_like(obs_RO[:, 0], -torch.inf)
        for round_ in range(self.config.rounds):
            drawn = mean_RHA.unsqueeze(1) + std_RHA.unsqueeze(1) * noise[:, round_]
            plans_RCHA = drawn.clamp(-1.0, 1.0)
            returns_RC = self._returns(params_R, obs_RO, plans_RCHA)
            order = returns_RC.topk(self.config.elites, dim=1)
            chosen = order.indices[..., None, None].expand(-1, -1, *plans_RCHA.shape[2:])
            elites = plans_RCHA.gather(1, chosen)
            mean_RHA, std_RHA = elites.mean(1), elites.std(1, correction=0)
            better_R = order.values[:, 0] > best_R
            best_R = torch.where(better_R, order.values[:, 0], best_R)
            best_RHA = torch.where(better_R[:, None, None], elites[:, 0], best_RHA)
        return best_RHA

    def actions(self, plans: Tensor) -> Tensor:
        """Plans in the units of the environment."""
        return self._middle_A + self._half_A * plans

    def _returns(self, params_R: Params, obs_RO: Tensor, plans_RCHA: Tensor) -> Tensor:
        obs_RCO = obs_RO.unsqueeze(1).expand(-1, plans_RCHA.shape[1], -1)
        returns_RC = torch.zeros_like(plans_RCHA[:, :, 0, 0])
        actions = self.actions(plans_RCHA)
        for step in range(plans_RCHA.shape[2]):
            obs_RCO, rewards_RC = self._model.predict(params_R, obs_RCO, actions[:, :, step])
            obs_RCO = obs_RCO.clamp(-_FARTHEST, _FARTHEST)
            returns_RC = returns_RC + rewards_RC.clamp(-_FARTHEST, _FARTHEST)
        return torch.nan_to_num(returns_RC, nan=-torch.inf)
