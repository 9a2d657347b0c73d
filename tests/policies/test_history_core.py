"""Convolutions over the last second: at once, step by step, and as the paper has them."""

import numpy as np
import torch
from torch.nn.functional import conv1d

from metarl.policies.networks.history_core import SPAN, HistoryCore

F, C, N, T = 5, 4, 3, 70


def core_of(dtype=torch.float64):
    core = HistoryCore(F, C)
    core.initialise(torch.Generator().manual_seed(0))
    core.module.to(dtype)
    return core


def test_the_newest_step_is_the_papers_network_on_the_last_steps():
    """Strided convolutions, kernels 8, 5, 5 and strides 4, 1, 1 (Kumar et al. 2021)."""
    core, inputs = core_of(), torch.randn(T, N, F, dtype=torch.float64)
    embed, *convolutions = core.module
    values = torch.relu(embed(inputs[-SPAN:])).permute(1, 2, 0)  # (N, C, steps)
    for layer, (kernel, stride) in zip(convolutions, [(8, 4), (5, 1), (5, 1)], strict=True):
        weight = layer.weight.view(C, kernel, C).transpose(1, 2)
        values = torch.relu(conv1d(values, weight, layer.bias, stride))
    assert SPAN == 48 and values.shape[-1] == 3
    torch.testing.assert_close(core.whole(inputs)[-1], values.transpose(1, 2).flatten(1))


def test_step_by_step_is_at_once_and_parts_go_on_where_others_end():
    core, inputs = core_of(), torch.randn(T, N, F, dtype=torch.float64)
    whole = core.whole(inputs)
    step, memory = core.on_arrays(), [part.numpy().copy() for part in core.empty(N)]
    for t in range(T):
        given, memory = step(inputs[t].numpy(), memory)
        np.testing.assert_allclose(given, whole[t].detach(), atol=1e-12)
    first, after = core.run(inputs[:31], core.empty(N))
    second, end = core.run(inputs[31:], after)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    for a, b in zip(end, memory, strict=True):
        np.testing.assert_allclose(a.detach(), b, atol=1e-12)


def test_what_lies_further_back_is_forgotten():
    core, inputs = core_of(), torch.randn(T, N, F, dtype=torch.float64)
    other = inputs.clone()
    other[: T - SPAN] = 7.0
    torch.testing.assert_close(core.whole(other)[-1], core.whole(inputs)[-1], atol=0, rtol=0)
    other[T - SPAN] = 7.0
    assert not torch.equal(core.whole(other)[-1], core.whole(inputs)[-1])
