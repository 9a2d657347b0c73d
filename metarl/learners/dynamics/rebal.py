"""ReBAL: a model of the dynamics that adapts online, by a memory of what was seen last.

Nagabandi et al. 2019, arXiv 1803.11347, the recurrence-based update: a GRU (Cho et al. 2014,
arXiv 1406.1078, in PyTorch's form) reads the last K transitions; its last state is one more input
of the network that predicts. An input that is the same for all candidates only moves the first
layer's biases, so these are what adapts, and plans cost what they cost GrBAL.

Shapes: R robots or windows, K transitions, F numbers of a transition, D hidden size, J units of the
first layer.
"""

import math
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from metarl.learners.base import Setting
from metarl.learners.dynamics.base import ModelBased, ModelBasedConfig, ModelConfig
from metarl.learners.dynamics.model import DynamicsModel, Transitions
from metarl.params import Params
from metarl_envs.memory import require_memory

_MOVED = "layer_0.bias"


class ReBALConfig(ModelBasedConfig):
    """ReBAL."""

    name: Literal["rebal"] = "rebal"
    hidden_size: PositiveInt = 64
    """Of the GRU."""


class ReBAL(ModelBased):
    """Plans with a model that adapts at every step, by a memory of the last ones."""

    Config = ReBALConfig

    def __init__(self, config: ReBALConfig, policy: ModelConfig, setting: Setting) -> None:
        self._hidden_size = config.hidden_size
        super().__init__(config, policy, setting)

    def of_update(self, generator: torch.Generator) -> Params:
        """Weights within one over the root of D, as PyTorch's; Glorot-uniform into the network."""
        spec, hidden = self.spec, self._hidden_size
        first = len(self.model.theta[_MOVED])
        shapes = {
            "memory.of_input": (2 * spec.obs_size + spec.action_size, 3 * hidden),
            "memory.of_state": (hidden, 3 * hidden),
            "memory.bias_of_input": (3 * hidden,),
            "memory.bias_of_state": (3 * hidden,),
            "memory.to_network": (hidden, first),
        }
        numbers = sum(math.prod(shape) for shape in shapes.values())
        require_memory(f"networks of memory size {hidden}", 4 * numbers)
        bounds = dict.fromkeys(shapes, hidden**-0.5)
        bounds["memory.to_network"] = math.sqrt(6.0 / (hidden + first))
        return {
            name: bounds[name] * (torch.rand(shape, generator=generator) * 2.0 - 1.0)
            for name, shape in shapes.items()
        }

    def adapted(self, params_R: Params, past: Transitions, through: bool = False) -> Params:
        with torch.set_grad_enabled(through):
            state_R1D = remembered(self.model, params_R, past)
            shift_RJ = (state_R1D @ params_R["memory.to_network"]).squeeze(1)
            return {**params_R, _MOVED: params_R[_MOVED] + shift_RJ}

    @property
    def adapted_size(self) -> int:
        return self._hidden_size


def remembered(model: DynamicsModel, params_R: Params, past: Transitions) -> Tensor:
    """The GRU's state after the last transitions, zero without any: shape (R, 1, D).

    Args:
        model: what normalises.
        params_R: the memory's parameters, of each robot.
        past: what it reads, rewards apart.
    """
    inputs, outputs = model.normalised(past)
    seen_RKF = torch.cat([inputs, outputs[..., :-1]], dim=-1)
    biases = (params_R[f"memory.bias_of_{part}"].unsqueeze(1) for part in ("input", "state"))
    of_input, of_state = biases
    drive_RKG = torch.baddbmm(of_input, seen_RKF, params_R["memory.of_input"])
    weight = params_R["memory.of_state"]
    state = weight.new_zeros(len(weight), 1, weight.shape[1])
    valid_RK11 = past.valid_RK[..., None, None] > 0
    for step in range(seen_RKF.shape[1]):
        of_seen = drive_RKG[:, step : step + 1].chunk(3, dim=-1)
        of_before = torch.baddbmm(of_state, state, weight).chunk(3, dim=-1)
        reset, keep = (torch.sigmoid(of_seen[i] + of_before[i]) for i in (0, 1))
        new = torch.tanh(of_seen[2] + reset * of_before[2])
        state = torch.where(valid_RK11[:, step], new + keep * (state - new), state)
    return state
