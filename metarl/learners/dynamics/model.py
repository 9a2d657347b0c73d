"""A model of the dynamics, with one set of parameters per robot.

From an observation and an action it predicts the change of the observation and the reward, all
normalised by running statistics. Shapes: R robots or windows, K transitions of each, O observation,
A action, I = O + A inputs, J = O + 1 outputs.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.environments.fit import Spec
from metarl.params import Params, tile
from metarl.policies.networks.tanh_mlp import StackedMLP

PREFIX = "scale."
_LEAST_STD = 1e-6


class Transitions(NamedTuple):
    """Steps that follow each other.

    Attributes:
        obs_RKO: before each.
        actions_RKA: taken there.
        next_obs_RKO: after each.
        rewards_RK: for each; not looked at where a model adapts.
        valid_RK: 1 for a step, 0 for padding.
    """

    obs_RKO: Tensor
    actions_RKA: Tensor
    next_obs_RKO: Tensor
    rewards_RK: Tensor
    valid_RK: Tensor


class DynamicsModel:
    """The network, what it is normalised by, and its losses.

    Args:
        spec: sizes.
        hidden_sizes: of the tanh network.
        generator: of the initial parameters.
        device: where they live.
        dtype: of the parameters.
    """

    def __init__(
        self,
        spec: Spec,
        hidden_sizes: tuple[int, ...],
        generator: torch.Generator,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._obs_size = spec.obs_size
        inputs, outputs = spec.obs_size + spec.action_size, spec.obs_size + 1
        self.network = StackedMLP((inputs, *hidden_sizes, outputs))
        drawn = self.network.init(generator)
        self.theta = {name: value.to(device, dtype) for name, value in drawn.items()}
        size = inputs + outputs
        zeros = torch.zeros(size, dtype=torch.float64, device=device)
        self._sums = {"count": zeros[:1].clone(), "sum": zeros, "square": zeros.clone()}
        self._scale()

    # Numbers

    def take_in(self, sums_P: Tensor) -> None:
        """More transitions join the statistics: what `sums_of` gave, added up."""
        size = len(self._sums["sum"])
        for name, value in zip(self._sums, sums_P.split([1, size, size]), strict=True):
            self._sums[name] = self._sums[name] + value
        self._scale()

    def sums_of(self, steps: Transitions) -> Tensor:
        """Count, sums and sums of squares of each row's numbers: float64, shape (R, P)."""
        numbers = torch.cat([*self._inputs_outputs(steps)], dim=-1).double()
        valid_RK1 = steps.valid_RK.double().unsqueeze(-1)
        numbers = torch.where(valid_RK1 > 0, numbers, 0.0)
        parts = [valid_RK1.sum(1), numbers.sum(1), numbers.square().sum(1)]
        return torch.cat(parts, dim=1)

    def _inputs_outputs(self, steps: Transitions) -> tuple[Tensor, Tensor]:
        change = steps.next_obs_RKO - steps.obs_RKO
        outputs = torch.cat([change, steps.rewards_RK.unsqueeze(-1)], dim=-1)
        return torch.cat([steps.obs_RKO, steps.actions_RKA], dim=-1), outputs

    def _scale(self) -> None:
        count = self._sums["count"].clamp(min=1.0)
        mean = self._sums["sum"] / count
        std = (self._sums["square"] / count - mean.square()).clamp(min=0.0).sqrt()
        std = torch.where(std > _LEAST_STD * (1.0 + mean.abs()), std, 1.0)
        like, inputs = next(iter(self.theta.values())), self.network.sizes[0]
        mean, std = mean.to(like), std.to(like)
        self._of_inputs, self._of_outputs = (
            (mean[part], std[part]) for part in (slice(inputs), slice(inputs, None))
        )

    # Predicting and adapting

    def predict(self, params_R: Params, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Next observations (R, N, O) and rewards (R, N) of N steps of each robot."""
        mean, std = self._of_inputs
        inputs = (torch.cat([obs, actions], dim=-1) - mean) / std
        mean, std = self._of_outputs
        outputs = self.network(params_R, inputs) * std + mean
        return obs + outputs[..., : self._obs_size], outputs[..., self._obs_size]

    def normalised(self, steps: Transitions) -> tuple[Tensor, Tensor]:
        """What the network is given (R, K, I), and what it ought to answer (R, K, J)."""
        inputs, outputs = self._inputs_outputs(steps)
        (mean_in, std_in), (mean_out, std_out) = self._of_inputs, self._of_outputs
        return (inputs - mean_in) / std_in, (outputs - mean_out) / std_out

    def losses(self, params_R: Params, steps: Transitions, rewards: bool) -> Tensor:
        """Mean squared error of each row's normalised predictions: shape (R,).

        Args:
            params_R: parameters of each.
            steps: what is to be predicted.
            rewards: whether rewards are.
        """
        inputs, wanted = self.normalised(steps)
        errors = self.network(params_R, inputs) - wanted
        size = self._obs_size + rewards
        valid_RK = steps.valid_RK.to(errors)
        squares_RK = torch.where(valid_RK > 0, errors[..., :size].square().mean(-1), 0.0)
        return squares_RK.sum(1) / valid_RK.sum(1).clamp(min=1.0)

    def tiled(self, rows: int) -> Params:
        """The meta-parameters for so many robots."""
        return {name: value.contiguous() for name, value in tile(self.theta, rows).items()}

    # As data

    def state(self) -> Params:
        """Parameters and statistics."""
        return {**self.theta, **{f"{PREFIX}{name}": value for name, value in self._sums.items()}}

    def load(self, params: Mapping[str, Tensor]) -> None:
        """Restore what `state` gave."""
        self.theta = {name: params[name].to(value).clone() for name, value in self.theta.items()}
        self._sums = {
            n: params[f"{PREFIX}{n}"].to(value).clone() for n, value in self._sums.items()
        }
        self._scale()
