"""GrBAL: a model of the dynamics that adapts online, by a gradient step at every step.

Nagabandi et al. 2019, arXiv 1803.11347, algorithm 1 with the gradient-based update: the start theta
is meta-trained so that one step on the last K transitions, theta - alpha grad L(theta; last K),
predicts the next K.

Shapes: R robots or windows, K transitions.
"""

from typing import Literal

import torch
from pydantic import NonNegativeFloat

from metarl.learners.base import Setting
from metarl.learners.dynamics.base import ModelBased, ModelBasedConfig, ModelConfig
from metarl.learners.dynamics.model import DynamicsModel, Transitions
from metarl.params import Params, detach


class GrBALConfig(ModelBasedConfig):
    """GrBAL."""

    name: Literal["grbal"] = "grbal"
    step_size: NonNegativeFloat = 0.01
    """Of the online gradient step; 0 for a model that does not adapt."""


class GrBAL(ModelBased):
    """Plans with a model that adapts at every step, by a gradient step."""

    Config = GrBALConfig

    def __init__(self, config: GrBALConfig, policy: ModelConfig, setting: Setting) -> None:
        super().__init__(config, policy, setting)
        self._step_size = config.step_size

    def adapted(self, params_R: Params, past: Transitions, through: bool = False) -> Params:
        if self._step_size == 0:
            return params_R
        return gradient_step(self.model, params_R, past, self._step_size, through)

    @property
    def adapted_size(self) -> int:
        return sum(v.numel() for v in self.model.theta.values()) if self._step_size > 0 else 0


def gradient_step(
    model: DynamicsModel,
    params_R: Params,
    steps: Transitions,
    size: float,
    through: bool = False,
) -> Params:
    """Parameters after one gradient step on what was seen of each robot, rewards apart.

    Args:
        model: whose losses they are.
        params_R: before it.
        steps: the last transitions; without any a robot's parameters stay.
        size: of the step.
        through: whether derivatives go through it.
    """
    leaves = params_R if through else detach(params_R, requires_grad=True)
    with torch.enable_grad():
        total = model.losses(leaves, steps, rewards=False).sum()
        slopes = torch.autograd.grad(total, [*leaves.values()], create_graph=through)
        pairs = zip(leaves.items(), slopes, strict=True)
        stepped = {name: value - size * slope for (name, value), slope in pairs}
    return stepped if through else detach(stepped)
