"""A task's bits depend neither on how many tasks are computed beside it, nor on other sequences.

Shapes: M tasks, N states, T steps, F inputs.
"""

import itertools

import numpy as np
import pytest
import torch

from metarl.interaction.threads import arithmetic_threads
from metarl.policies.networks.tanh_products import forward, hvp, jvp, vjp
from metarl.policies.networks.transformer import TransformerConfig, TransformerCore

M = 6


def products(layers, inputs, change, cotangent, tasks):
    """All that learning takes of a network, for some tasks."""
    params, dots = ([value[tasks] for value in values] for values in layers)
    outputs, hidden = forward(inputs[tasks], params)
    gradient = vjp(params, hidden, cotangent[tasks], wants_inputs=True)
    along = jvp(params, hidden, change[tasks], dots)
    sums = [value.clone() for value in along.sums]  # used up below
    z = cotangent[tasks].clone()
    of_inputs, of_params = hvp(params, hidden, gradient.deltas, along, dots, True, z)
    return [outputs, *hidden, gradient.inputs, *gradient.params, *sums, of_inputs, *of_params]


@pytest.mark.parametrize("num_states", [1, 7, 200])
@pytest.mark.parametrize("sizes", [(3, 5, 3, 2), (3, 64, 64, 1), (1, 32, 3), (1, 1), (27, 33, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_networks(sizes, num_states, dtype):
    g = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(M, *shape, generator=g, dtype=dtype)

    pairs = list(itertools.pairwise(sizes))
    layers = [[drawn(*s) for i, j in pairs for s in ((i, j), (j,))] for _ in range(2)]
    inputs, change = (drawn(num_states, sizes[0]) for _ in range(2))
    data = layers, inputs, change, drawn(num_states, sizes[-1])
    with arithmetic_threads(1):
        whole = products(*data, slice(0, M))
        for first, count in ((0, 1), (5, 1), (1, 2), (1, 4)):
            some = slice(first, first + count)
            parts = products(*data, some)
            assert all(map(torch.equal, parts, (value[some] for value in whole)))


@pytest.mark.parametrize("window", [200, 37])
def test_steps_of_a_transformer(window):
    """Of two sequences the second one begins later, or not."""
    core = TransformerCore(TransformerConfig(), 5, 8, window)
    core.initialise(torch.Generator().manual_seed(0))
    inputs_TNF = np.random.default_rng(0).standard_normal((150, 32, 5)).astype(np.float32)

    def last_outputs(start):
        step, memory = core.on_arrays(), [part.numpy() for part in core.empty(32)]
        for t, inputs in enumerate(inputs_TNF):
            outputs, memory = step(inputs, memory)
            if t < start[0]:
                memory[2][:16] = 0
            if t < start[1]:
                memory[2][16:] = 0
        return outputs

    together, apart = last_outputs((100, 100)), last_outputs((100, 0))
    np.testing.assert_array_equal(apart[:16], together[:16])
    assert not np.array_equal(apart[16:], together[16:])
