"""A tanh network for all tasks at once.

Its derivatives are those of `tanh_products`. Autograd sees two operations, the network and its
gradient, so that any objective can be differentiated twice through the network. Third derivatives
are refused.

Shapes: M tasks, N states per task, I and J layer sizes; parameters alternate weights (M, I, J) and
biases (M, J).
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metarl.params import Params
from metarl.policies.networks import tanh_products as products
from metarl_envs.memory import require_memory


def from_linear_layers(params: Mapping[str, Tensor]) -> Params:
    """The same parameters with `head.layers.N`, tanh layers of torch, as layers of a `StackedMLP`.

    Torch multiplies from the left: its weights are (J, I).
    """
    return {
        name.replace("head.layers.", "layer_"): value.T.contiguous()
        if name.startswith("head.layers.") and value.dim() > 1
        else value
        for name, value in params.items()
    }


class StackedMLP:
    """The network as a function of (params, obs).

    Args:
        sizes: of the input, the hidden layers and the output.
        output_scale: factor on the initial weights of the last layer.

    Raises:
        MemoryNeedError: if one does not fit into memory.
    """

    def __init__(self, sizes: tuple[int, ...], output_scale: float = 1.0) -> None:
        self.sizes, self.output_scale = sizes, output_scale
        numbers = sum((i + 1) * j for i, j in itertools.pairwise(sizes))
        require_memory(f"networks of sizes {sizes}", 4 * numbers)
        last = len(sizes) - 2
        self.head = frozenset({f"layer_{last}.weight", f"layer_{last}.bias"})
        self._names = [
            f"layer_{layer}.{part}"
            for layer in range(len(sizes) - 1)
            for part in ("weight", "bias")
        ]

    def init(self, generator: torch.Generator) -> Params:
        """Glorot-uniform weights, zero biases."""
        params: Params = {}
        pairs = list(itertools.pairwise(self.sizes))
        for layer, (i, j) in enumerate(pairs):
            bound = math.sqrt(6.0 / (i + j))
            if layer == len(pairs) - 1:
                bound *= self.output_scale
            weight_IJ = torch.rand(i, j, generator=generator) * 2.0 - 1.0
            params[f"layer_{layer}.weight"] = bound * weight_IJ
            params[f"layer_{layer}.bias"] = torch.zeros(j)
        return params

    def __call__(self, params: Mapping[str, Tensor], obs_MNO: Tensor) -> Tensor:
        """Outputs, shape (M, N, J of the last layer)."""
        outputs: Tensor = _Network.apply(obs_MNO, *[params[name] for name in self._names])[0]
        return outputs

    def layers(self, params: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Weight (M, I, J) and bias (M, J) of each layer."""
        return products.layers([params[name] for name in self._names])

    def derivatives(self, params: Mapping[str, Tensor], obs_MNO: Tensor) -> "NetworkDerivatives":
        """The network around these parameters, see there."""
        return NetworkDerivatives(
            self._names, [params[name].detach() for name in self._names], obs_MNO
        )


class NetworkDerivatives:
    """Products at fixed parameters and inputs, on the activations of one forward pass.

    Attributes:
        outputs: shape (M, N, J of the last layer).
    """

    def __init__(self, names: Sequence[str], params: Sequence[Tensor], inputs_MNO: Tensor) -> None:
        self._names, self._params = names, params
        self.outputs, self._hidden = products.forward(inputs_MNO, params)

    def jvp(self, tangent: Mapping[str, Tensor]) -> products.Change:
        """Changes along a change of the parameters; that of the outputs is the last sum."""
        return products.jvp(self._params, self._hidden, None, self._values(tangent))

    def vjp(self, cotangent: Tensor) -> tuple[Params, list[Tensor]]:
        """Gradient of <cotangent, outputs>, and every layer's delta in it."""
        gradient = products.vjp(self._params, self._hidden, cotangent, wants_inputs=False)
        return dict(zip(self._names, gradient.params, strict=True)), gradient.deltas

    def hvp(
        self,
        change: products.Change,
        tangent: Mapping[str, Tensor],
        deltas: Sequence[Tensor],
        cotangent_change: Tensor,
    ) -> Params:
        """Derivative of `vjp` along a tangent, as its cotangent changes too; uses `change` up."""
        along = self._values(tangent)
        _, along_change = products.hvp(
            self._params, self._hidden, deltas, change, along, False, cotangent_change
        )
        return dict(zip(self._names, along_change, strict=True))

    def _values(self, params: Mapping[str, Tensor]) -> list[Tensor]:
        return [params[name] for name in self._names]


class _Network(torch.autograd.Function):
    """(inputs, *params) -> (outputs, *activations of hidden layers, which carry no gradient)."""

    @staticmethod
    def forward(inputs: Tensor, *params: Tensor) -> tuple[Tensor, ...]:
        outputs, hidden = products.forward(inputs, params)
        return (outputs, *hidden[1:])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.num_params = len(inputs) - 1
        ctx.save_for_backward(*inputs, *output[1:])
        ctx.save_for_forward(*inputs, *output[1:])

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if cotangent is None:
            return (None,) * (1 + ctx.num_params)
        wants_inputs = ctx.needs_input_grad[0]
        gradient: tuple[Tensor | None, ...] = _Gradient.apply(
            wants_inputs, ctx.num_params, cotangent, *ctx.saved_tensors
        )
        return gradient[: 1 + ctx.num_params]

    @staticmethod
    def jvp(
        ctx: Any, of_inputs: Tensor | None, *of_params: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        inputs, *tensors = ctx.saved_tensors
        params, hidden = tensors[: ctx.num_params], [inputs, *tensors[ctx.num_params :]]
        change = products.jvp(params, hidden, of_inputs, _filled(of_params, params))
        return (change.sums[-1], *[None] * (len(hidden) - 1))


class _Gradient(torch.autograd.Function):
    """(.., cotangent, inputs, *params, *hidden) -> (of inputs, *of params, *deltas but the last).

    The deltas carry no gradient: they are there for `backward`, as are the activations.
    """

    @staticmethod
    def forward(
        wants_inputs: bool, num_params: int, cotangent: Tensor, inputs: Tensor, *tensors: Tensor
    ) -> tuple[Tensor | None, ...]:
        hidden = [inputs, *tensors[num_params:]]
        gradient = products.vjp(tensors[:num_params], hidden, cotangent, wants_inputs)
        return (gradient.inputs, *gradient.params, *gradient.deltas[:-1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        ctx.wants_inputs, ctx.num_params, *tensors = inputs
        deltas = output[1 + ctx.num_params :]
        ctx.mark_non_differentiable(*deltas)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *deltas)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *along: Tensor | None) -> tuple[Tensor | None, ...]:
        cotangent, inputs, *tensors = ctx.saved_tensors
        params, rest = tensors[: ctx.num_params], tensors[ctx.num_params :]
        half = len(rest) // 2
        hidden, deltas = [inputs, *rest[:half]], [*rest[half:], cotangent]
        of_params = _filled(along[1 : 1 + ctx.num_params], params)
        change = products.jvp(params, hidden, along[0], of_params)
        of_inputs, along_change = products.hvp(
            params, hidden, deltas, change, of_params, ctx.wants_inputs
        )
        return (None, None, change.sums[-1], of_inputs, *along_change, *[None] * half)


def _filled(changes: Sequence[Tensor | None], params: Sequence[Tensor]) -> list[Tensor]:
    pairs = zip(changes, params, strict=True)
    return [torch.zeros_like(p) if change is None else change for change, p in pairs]
