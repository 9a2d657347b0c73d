"""Plain networks of rectified layers, shared by all tasks, which act in NumPy."""

import itertools

import numpy as np
import torch
from torch import nn

from metarl.policies.arrays import to_array
from metarl_envs.memory import require_memory

_HIDDEN_BIAS = 0.1


def relu_mlp(
    sizes: tuple[int, ...], last_bound: float, generator: torch.Generator
) -> nn.Sequential:
    """Linear layers with rectifiers between them.

    Fan-in initial weights, hidden biases of 0.1, and a last layer within `last_bound`, as in the
    reference implementation of PEARL (Rakelly et al. 2019).

    Args:
        sizes: of the input, the hidden layers and the output.
        last_bound: of the last layer's initial weights.
        generator: of the initial weights.

    Raises:
        MemoryNeedError: if it does not fit into memory.
    """
    numbers = sum((i + 1) * j for i, j in itertools.pairwise(sizes))
    require_memory(f"networks of sizes {sizes}", 4 * numbers)
    layers = list[nn.Module]()
    for index, (i, j) in enumerate(itertools.pairwise(sizes)):
        layer, last = nn.utils.skip_init(nn.Linear, i, j), index == len(sizes) - 2
        bound = last_bound if last else i**-0.5
        with torch.no_grad():
            layer.weight.copy_((torch.rand(j, i, generator=generator) * 2.0 - 1.0) * bound)
            layer.bias.fill_(0.0 if last else _HIDDEN_BIAS)
        layers += [layer] if last else [layer, nn.ReLU()]
    return nn.Sequential(*layers)


class ArrayMLP:
    """The network of `relu_mlp` for acting; later changes of its parameters are not seen."""

    def __init__(self, network: nn.Sequential) -> None:
        self._layers = [
            (to_array(layer.weight).T.copy(), to_array(layer.bias).copy())
            for layer in network
            if isinstance(layer, nn.Linear)
        ]

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs for rows of inputs."""
        *body, (last_weight, last_bias) = self._layers
        hidden = inputs
        for weight, bias in body:
            hidden = hidden @ weight
            hidden += bias
            np.maximum(hidden, 0.0, out=hidden)
        outputs: np.ndarray = hidden @ last_weight + last_bias
        return outputs
