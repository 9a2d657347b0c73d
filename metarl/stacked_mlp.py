"""A tanh network for all tasks at once, with first and second derivatives in closed form.

For layers h_l = tanh(h_{l-1} W_l + b_l) and output h_{L-1} W_L + b_L, the products that learning
takes are written out, each on the activations of one forward pass:

- pull: J^T c, the gradient of <c, output>, by the deltas d_L = c, d_l = (d_{l+1} W_{l+1}^T) h_l';
- push: J u, the change of the output along a change u of the parameters;
- curve: the derivative of J^T c along u (Pearlmutter 1994, the R-operator).

Autograd sees two operations, the network and its pull, so that any objective can be differentiated
twice through the network. Third derivatives are refused.

Shapes: M tasks, N states per task, I and J layer sizes; parameters alternate weights (M, I, J) and
biases (M, J).
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metarl.params import Params

_MINUS_ONE = torch.tensor(-1.0)

# Batched products of few columns are several times slower than those of few rows
_NARROW = 16


class StackedMLP:
    """The network as a function of (params, obs).

    Args:
        sizes: of the input, the hidden layers and the output.
        output_scale: factor on the initial weights of the last layer.
    """

    def __init__(self, sizes: tuple[int, ...], output_scale: float = 1.0) -> None:
        self.sizes, self.output_scale = sizes, output_scale
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
        return _layers([params[name] for name in self._names])


class _Network(torch.autograd.Function):
    """(inputs, *params) -> (outputs, *activations of hidden layers, which carry no gradient)."""

    @staticmethod
    def forward(inputs: Tensor, *params: Tensor) -> tuple[Tensor, ...]:
        hidden = [inputs]
        for weight, bias in _layers(params)[:-1]:
            hidden.append(_tanh_of_half_(_affine(hidden[-1], weight, bias, factor=2.0)))
        return (_affine(hidden[-1], params[-2], params[-1]), *hidden[1:])

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
        pulled: tuple[Tensor | None, ...] = _Pull.apply(
            wants_inputs, ctx.num_params, cotangent, *ctx.saved_tensors
        )
        return pulled[: 1 + ctx.num_params]

    @staticmethod
    def jvp(
        ctx: Any, of_inputs: Tensor | None, *of_params: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        inputs, *tensors = ctx.saved_tensors
        params, hidden = tensors[: ctx.num_params], [inputs, *tensors[ctx.num_params :]]
        change = _push(params, hidden, of_inputs, _filled(of_params, params))
        return (change.sums[-1], *[None] * (len(hidden) - 1))


class _Pull(torch.autograd.Function):
    """(.., cotangent, inputs, *params, *hidden) -> (of inputs, *of params, *deltas but the last).

    The deltas carry no gradient: they are there for `backward`, as are the activations.
    """

    @staticmethod
    def forward(
        wants_inputs: bool, num_params: int, cotangent: Tensor, inputs: Tensor, *tensors: Tensor
    ) -> tuple[Tensor | None, ...]:
        layers, hidden = _layers(tensors[:num_params]), [inputs, *tensors[num_params:]]
        deltas, of_params = [cotangent], list[Tensor]()
        for layer in reversed(range(len(layers))):
            of_params[:0] = [_outer(hidden[layer], deltas[0]), deltas[0].sum(1)]
            if layer > 0:
                back = deltas[0] @ layers[layer][0].mT
                deltas.insert(0, _through_tanh_(back, hidden[layer]))
        of_inputs = deltas[0] @ layers[0][0].mT if wants_inputs else None
        return (of_inputs, *of_params, *deltas[:-1])

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
        change = _push(params, hidden, along[0], of_params)
        curved = _curve(params, hidden, deltas, change, of_params, ctx.wants_inputs)
        return (None, None, change.sums[-1], *curved, *[None] * half)


class _Change(NamedTuple):
    """How every layer changes along a change of inputs and parameters."""

    hidden: list[Tensor | None]  # of its input, None for no change
    sums: list[Tensor]  # of its weighted sum, before the tanh


def _push(
    params: Sequence[Tensor],
    hidden: Sequence[Tensor],
    of_inputs: Tensor | None,
    of_params: Sequence[Tensor],
) -> _Change:
    change = _Change([of_inputs], [])
    layers = zip(_layers(params), _layers(of_params), hidden, strict=True)
    for layer, ((weight, _), (weight_dot, bias_dot), h) in enumerate(layers, start=1):
        total = _affine(h, weight_dot, bias_dot)
        h_dot = change.hidden[-1]
        if h_dot is not None:
            total += _affine(h_dot, weight)
        change.sums.append(total)
        if layer < len(hidden):
            change.hidden.append(torch.ops.aten.tanh_backward(total, hidden[layer]))
    return change


def _curve(
    params: Sequence[Tensor],
    hidden: Sequence[Tensor],
    deltas: Sequence[Tensor],
    change: _Change,
    of_params: Sequence[Tensor],
    wants_inputs: bool,
) -> list[Tensor | None]:
    """Gradient of <cotangent, change of the output> in the inputs and every parameter.

    With u the change of layer sums, each layer's sum gets

        z_l = (d_{l+1} Wdot_{l+1}^T + z_{l+1} W_{l+1}^T) (1 - h_l^2) - 2 h_l u_l d_l,  z_L = 0.
    """
    layers, layers_dot = _layers(params), _layers(of_params)
    gradients: list[Tensor | None] = []
    z: Tensor | None = None
    for layer in reversed(range(len(layers))):
        h, h_dot, delta = hidden[layer], change.hidden[layer], deltas[layer]
        of_weight = torch.zeros_like(layers[layer][0]) if h_dot is None else _outer(h_dot, delta)
        of_bias = torch.zeros_like(layers[layer][1])
        if z is not None:
            of_weight, of_bias = of_weight + _outer(h, z), z.sum(1)
        gradients[:0] = [of_weight, of_bias]
        if layer == 0 and not wants_inputs:
            break
        back = delta @ layers_dot[layer][0].mT
        if z is not None:
            back.baddbmm_(z, layers[layer][0].mT)
        if layer == 0:
            return [back, *gradients]
        turn = change.sums[layer - 1].mul_(h).mul_(deltas[layer - 1])  # the last use of the sum
        z = _through_tanh_(back, h).sub_(turn, alpha=2.0)
    return [None, *gradients]


def _layers(params: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Pairs of weight and bias."""
    return list(zip(params[::2], params[1::2], strict=True))


def _filled(changes: Sequence[Tensor | None], params: Sequence[Tensor]) -> list[Tensor]:
    pairs = zip(changes, params, strict=True)
    return [torch.zeros_like(p) if change is None else change for change, p in pairs]


def _affine(
    inputs_MNI: Tensor, weight_MIJ: Tensor, bias_MJ: Tensor | None = None, factor: float = 1.0
) -> Tensor:
    """(Inputs times weight, plus bias) times factor: a fresh tensor of shape (M, N, J)."""
    if bias_MJ is None:
        bias_MJ = weight_MIJ.new_zeros(1, 1)
    if weight_MIJ.shape[-1] >= _NARROW:
        bias_M1J = bias_MJ.unsqueeze(1)
        return torch.baddbmm(bias_M1J, inputs_MNI, weight_MIJ, beta=factor, alpha=factor)
    bias_MJ1 = bias_MJ.unsqueeze(2)
    transposed = torch.baddbmm(bias_MJ1, weight_MIJ.mT, inputs_MNI.mT, beta=factor, alpha=factor)
    return transposed.mT.contiguous()


def _outer(left_MNI: Tensor, right_MNJ: Tensor) -> Tensor:
    """Sum over states of outer products: shape (M, I, J)."""
    if right_MNJ.shape[-1] >= _NARROW:
        return left_MNI.mT @ right_MNJ
    return (right_MNJ.mT @ left_MNI).mT


def _through_tanh_(cotangent: Tensor, h: Tensor) -> Tensor:
    """Cotangent times 1 - h^2, in place: fresh memory costs more than the arithmetic."""
    return torch.ops.aten.tanh_backward.grad_input(cotangent, h, grad_input=cotangent)


def _tanh_of_half_(doubled: Tensor) -> Tensor:
    """tanh(x) of 2 x, in place, as 2 sigmoid(2 x) - 1.

    Several times faster than tanh, and as exact in absolute terms.
    """
    return torch.add(_MINUS_ONE, doubled.sigmoid_(), alpha=2.0, out=doubled)
