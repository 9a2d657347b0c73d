"""A memory of the last second: causal convolutions over the steps just before.

The adaptation module of RMA (Kumar et al. 2021, arXiv 2107.04034, section III-C): each step is
embedded, three convolutions over time follow (kernels 8, 5, 5, strides 4, 1, 1), and three of
their outputs are given. Here the strides are dilations of causal convolutions, which give the same
at the newest step and cost a step of each layer per step; before the beginning there are zeros.
It sees 48 steps.

Shapes: T steps, N sequences, F inputs, C channels, P past steps that a layer needs.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from metarl.policies.arrays import to_array
from metarl.policies.networks.memory_core import ArrayCore, MemoryCore
from metarl_envs.memory import require_memory


class _Taps(NamedTuple):
    """Which of the past steps a layer sees: `number` of them, `apart` steps from each other."""

    number: int
    apart: int

    @property
    def past(self) -> int:
        return (self.number - 1) * self.apart


_CONVOLUTIONS = (_Taps(8, 1), _Taps(5, 4), _Taps(5, 4))
_GIVEN = _Taps(3, 4)
_LAYERS = (*_CONVOLUTIONS, _GIVEN)
SPAN = 1 + sum(taps.past for taps in _LAYERS)  # steps that it sees


class HistoryCore(MemoryCore):
    """Convolutions over the last `SPAN` steps; a memory holds what each layer needs of the past.

    Args:
        input_size: F.
        channels: C.
    """

    parts = ("embedded", "convolved_1", "convolved_2", "convolved_3")

    def __init__(self, input_size: int, channels: int) -> None:
        numbers = [input_size, *(taps.number * channels for taps in _CONVOLUTIONS)]
        require_memory(f"networks of memory size {channels}", 4 * sum(numbers) * channels)
        self.input_size, self._channels = input_size, channels
        self.output_size = _GIVEN.number * channels
        self._layers = [nn.utils.skip_init(nn.Linear, count, channels) for count in numbers]
        self.module = nn.ModuleList(self._layers)

    def initialise(self, generator: torch.Generator) -> None:
        """Fan-in uniform weights for rectifiers, no biases."""
        with torch.no_grad():
            for layer in self._layers:
                drawn = torch.rand(layer.weight.shape, generator=generator) * 2.0 - 1.0
                layer.weight.copy_((6.0 / layer.in_features) ** 0.5 * drawn)
                layer.bias.zero_()

    def empty(self, count: int) -> list[Tensor]:
        like = self._layers[0].weight
        return [like.new_zeros(count, taps.past, self._channels) for taps in _LAYERS]

    def run(self, inputs_TNF: Tensor, memory: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        embed, *convolutions = self._layers
        values_TNC, after = torch.relu(embed(inputs_TNF)), []
        for taps, past_NPC, layer in zip(_LAYERS, memory, [*convolutions, None], strict=True):
            steps = torch.cat([past_NPC.transpose(0, 1), values_TNC])
            after.append(steps[len(steps) - taps.past :].transpose(0, 1))
            count = len(inputs_TNF)
            firsts = range(0, taps.past + 1, taps.apart)
            values_TNC = torch.cat([steps[first : first + count] for first in firsts], dim=-1)
            if layer is not None:
                values_TNC = torch.relu(layer(values_TNC))
        return values_TNC, after

    def on_arrays(self) -> ArrayCore:
        return _HistoryStep(self._layers)


class _HistoryStep:
    def __init__(self, layers: list[nn.Linear]) -> None:
        arrays = [
            (to_array(layer.weight).T.copy(), to_array(layer.bias).copy()) for layer in layers
        ]
        self._embed, self._convolutions = arrays[0], [*arrays[1:], None]

    def __call__(
        self, inputs: np.ndarray, memory: list[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        values = _rectified(inputs, *self._embed)
        for taps, past, layer in zip(_LAYERS, memory, self._convolutions, strict=True):
            seen = [past[:, first] for first in range(0, taps.past, taps.apart)]
            joined = np.concatenate([*seen, values], axis=1)
            past[:, :-1] = past[:, 1:]
            past[:, -1] = values
            values = joined if layer is None else _rectified(joined, *layer)
        return values, memory


def _rectified(inputs: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    values: np.ndarray = inputs @ weight
    values += bias
    return np.maximum(values, 0.0, out=values)
