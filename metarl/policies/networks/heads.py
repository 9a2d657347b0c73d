"""From a memory to the outputs of a policy: a linear map, or a generated network.

Shapes: any leading axes; F hidden size, O observation, I and J layer sizes.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from metarl.policies.arrays import to_array
from metarl_envs.memory import require_memory

# (hidden (N, F), observations (N, O)) -> outputs, for acting
ArrayHead = Callable[[np.ndarray, np.ndarray], np.ndarray]
_SMALL = 0.1  # of the last layer's initial weights


class Head(nn.Module, ABC):
    """From a memory, and perhaps the observation, to the outputs of a policy."""

    @abstractmethod
    def initialise(self, generator: torch.Generator) -> None:
        """Draw initial parameters."""

    @abstractmethod
    def forward(self, hidden: Tensor, obs: Tensor) -> Tensor:
        """Outputs (..., J)."""

    @abstractmethod
    def on_arrays(self) -> ArrayHead:
        """The same for acting; later changes of the parameters are not seen."""


class LinearHead(Head):
    """Outputs from the memory alone, which has seen the observation."""

    def __init__(self, hidden_size: int, outputs: int) -> None:
        super().__init__()
        require_memory(f"networks of memory size {hidden_size}", 4 * hidden_size * outputs)
        self.weight = nn.Parameter(torch.zeros(outputs, hidden_size))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def initialise(self, generator: torch.Generator) -> None:
        """Small uniform weights, no bias."""
        bound = _SMALL * self.weight.shape[1] ** -0.5
        with torch.no_grad():
            drawn = torch.rand(self.weight.shape, generator=generator) * 2.0 - 1.0
            self.weight.copy_(bound * drawn)
            self.bias.zero_()

    def forward(self, hidden: Tensor, obs: Tensor) -> Tensor:
        return nn.functional.linear(hidden, self.weight, self.bias)

    def on_arrays(self) -> ArrayHead:
        weight, bias = to_array(self.weight).T.copy(), to_array(self.bias).copy()
        return lambda hidden, obs: hidden @ weight + bias


class HyperHead(Head):
    """All weights of a small tanh network on the observation, made from the memory at every step.

    Beck et al. 2022, arXiv 2210.11348, with its Bias-HyperInit: the generating layer's weights
    start at zero and its bias at a conventional initialisation, so that every memory generates the
    same ordinary network at the start.

    Args:
        hidden_size: F.
        sizes: of the generated network: observation, hidden layers, outputs.
    """

    def __init__(self, hidden_size: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self._pairs = list(itertools.pairwise(sizes))
        self._parts = [n for i, j in self._pairs for n in (i * j, j)]
        require_memory("generated networks", 4 * hidden_size * sum(self._parts))
        self.generate = nn.utils.skip_init(nn.Linear, hidden_size, sum(self._parts))

    def initialise(self, generator: torch.Generator) -> None:
        """Bias-HyperInit: fan-in uniform weights, a small last layer, no biases."""
        drawn = []
        for index, (i, j) in enumerate(self._pairs):
            bound = i**-0.5 * (_SMALL if index == len(self._pairs) - 1 else 1.0)
            weights = bound * (torch.rand(i * j, generator=generator) * 2.0 - 1.0)
            drawn += [weights, torch.zeros(j)]
        with torch.no_grad():
            self.generate.weight.zero_()
            self.generate.bias.copy_(torch.cat(drawn))

    def forward(self, hidden: Tensor, obs: Tensor) -> Tensor:
        """Outputs (..., J) of the networks that `hidden` generates, at `obs`."""
        parts = self.generate(hidden).split(self._parts, dim=-1)
        values = obs
        for index, (weight, bias) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
            if index:
                values = torch.tanh(values)
            matrix = weight.unflatten(-1, self._pairs[index])
            values = (values.unsqueeze(-2) @ matrix).squeeze(-2) + bias
        return values

    def on_arrays(self) -> ArrayHead:
        generate = to_array(self.generate.weight).T.copy(), to_array(self.generate.bias).copy()
        splits = np.cumsum(self._parts)[:-1]

        def head(hidden: np.ndarray, obs: np.ndarray) -> np.ndarray:
            parts = np.split(hidden @ generate[0] + generate[1], splits, axis=-1)
            values = obs
            for index, (weight, bias) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
                if index:
                    values = np.tanh(values)
                matrix = weight.reshape(-1, *self._pairs[index])
                values = np.matmul(values[:, None], matrix)[:, 0] + bias
            return values

        return head
