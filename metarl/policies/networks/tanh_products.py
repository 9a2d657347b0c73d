"""Derivatives of a tanh network for all tasks at once, in closed form.

For layers h_l = tanh(h_{l-1} W_l + b_l) and output h_{L-1} W_L + b_L, the products that learning
takes are written out, each on the activations of one forward pass:

- vjp: J^T c, the gradient of <c, output>, by the deltas d_L = c, d_l = (d_{l+1} W_{l+1}^T) h_l';
- jvp: J u, the change of the output along a change u of the parameters;
- hvp: the derivative of J^T c along u (Pearlmutter 1994, the R-operator).

Shapes: M tasks, N states per task, I and J layer sizes; parameters alternate weights (M, I, J) and
biases (M, J).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Batched products of few columns are several times slower than those of few rows
_NARROW = 16


def forward(inputs: Tensor, params: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Outputs, and the input of every layer."""
    hidden = [inputs]
    for weight, bias in layers(params)[:-1]:
        hidden.append(_affine(hidden[-1], weight, bias).tanh_())
    return _affine(hidden[-1], params[-2], params[-1]), hidden


class Gradient(NamedTuple):
    """Gradient of <cotangent, output>."""

    inputs: Tensor | None
    params: list[Tensor]
    deltas: list[Tensor]  # in every layer's weighted sum; the last is the cotangent


def vjp(
    params: Sequence[Tensor], hidden: Sequence[Tensor], cotangent: Tensor, wants_inputs: bool
) -> Gradient:
    """Gradient of <cotangent, output> in every parameter, and in the inputs if wanted."""
    pairs, deltas, of_params = layers(params), [cotangent], list[Tensor]()
    for layer in reversed(range(len(pairs))):
        of_params[:0] = [_outer(hidden[layer], deltas[0]), deltas[0].sum(1)]
        if layer > 0:
            back = _times(deltas[0], pairs[layer][0].mT)
            deltas.insert(0, _through_tanh_(back, hidden[layer]))
    of_inputs = _times(deltas[0], pairs[0][0].mT) if wants_inputs else None
    return Gradient(of_inputs, of_params, deltas)


class Change(NamedTuple):
    """How every layer changes along a change of inputs and parameters."""

    hidden: list[Tensor | None]  # of its input, None for no change
    sums: list[Tensor]  # of its weighted sum, before the tanh


def jvp(
    params: Sequence[Tensor],
    hidden: Sequence[Tensor],
    of_inputs: Tensor | None,
    of_params: Sequence[Tensor],
) -> Change:
    """Changes along a change of the inputs (None for none) and of every parameter."""
    change = Change([of_inputs], [])
    triples = zip(layers(params), layers(of_params), hidden, strict=True)
    for layer, ((weight, _), (weight_dot, bias_dot), h) in enumerate(triples, start=1):
        total = _affine(h, weight_dot, bias_dot)
        h_dot = change.hidden[-1]
        if h_dot is not None:
            total += _affine(h_dot, weight)
        change.sums.append(total)
        if layer < len(hidden):
            change.hidden.append(torch.ops.aten.tanh_backward(total, hidden[layer]))
    return change


def hvp(
    params: Sequence[Tensor],
    hidden: Sequence[Tensor],
    deltas: Sequence[Tensor],
    change: Change,
    of_params: Sequence[Tensor],
    wants_inputs: bool,
    z: Tensor | None = None,
) -> tuple[Tensor | None, list[Tensor]]:
    """Gradient of <cotangent, change of the output> in the inputs and every parameter.

    With u the change of layer sums, each layer's sum gets

        z_l = (d_{l+1} Wdot_{l+1}^T + z_{l+1} W_{l+1}^T) (1 - h_l^2) - 2 h_l u_l d_l,

    from z_L = `z`, the change of the cotangent itself (None: zero).
    """
    pairs, pairs_dot = layers(params), layers(of_params)
    gradients: list[Tensor] = []
    for layer in reversed(range(len(pairs))):
        h, h_dot, delta = hidden[layer], change.hidden[layer], deltas[layer]
        of_weight = torch.zeros_like(pairs[layer][0]) if h_dot is None else _outer(h_dot, delta)
        of_bias = torch.zeros_like(pairs[layer][1]) if z is None else z.sum(1)
        if z is not None:
            of_weight = of_weight + _outer(h, z)
        gradients[:0] = [of_weight, of_bias]
        if layer == 0 and not wants_inputs:
            break
        back = _times(delta, pairs_dot[layer][0].mT)
        if z is not None:
            back = _times(z, pairs[layer][0].mT, plus=back, into=back)
        if layer == 0:
            return back, gradients
        of_slope = change.sums[layer - 1].mul_(h).mul_(deltas[layer - 1])  # the last use of the sum
        z = _through_tanh_(back, h).sub_(of_slope, alpha=2.0)
    return None, gradients


def layers(params: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Pairs of weight and bias."""
    return list(zip(params[::2], params[1::2], strict=True))


def _affine(inputs_MNI: Tensor, weight_MIJ: Tensor, bias_MJ: Tensor | None = None) -> Tensor:
    """Inputs times weight, plus bias: a fresh tensor of shape (M, N, J)."""
    if bias_MJ is None:
        bias_MJ = weight_MIJ.new_zeros(1, 1)
    if weight_MIJ.shape[-1] >= _NARROW:
        return _times(inputs_MNI, weight_MIJ, plus=bias_MJ.unsqueeze(1))
    return _times(weight_MIJ.mT, inputs_MNI.mT, plus=bias_MJ.unsqueeze(2)).mT.contiguous()


def _outer(left_MNI: Tensor, right_MNJ: Tensor) -> Tensor:
    """Sum over states of outer products: shape (M, I, J)."""
    if right_MNJ.shape[-1] >= _NARROW:
        return _times(left_MNI.mT, right_MNJ)
    return _times(right_MNJ.mT, left_MNI).mT


def _times(
    left_MAB: Tensor, right_MBC: Tensor, plus: Tensor | None = None, into: Tensor | None = None
) -> Tensor:
    """Product of each task's matrices, plus what is given: shape (M, A, C).

    A lone task's product with a single row or column takes a kernel that rounds otherwise than the
    one for several tasks: it is multiplied beside itself.
    """
    if len(left_MAB) == 1 and 1 in (*left_MAB.shape[1:], right_MBC.shape[-1]):
        return _times(left_MAB.expand(2, -1, -1), right_MBC.expand(2, -1, -1), plus)[:1]
    if plus is None:
        return left_MAB @ right_MBC
    return torch.baddbmm(plus, left_MAB, right_MBC, out=into)


def _through_tanh_(cotangent: Tensor, h: Tensor) -> Tensor:
    """Cotangent times 1 - h^2, in place: fresh memory costs more than the arithmetic."""
    return torch.ops.aten.tanh_backward.grad_input(cotangent, h, grad_input=cotangent)
