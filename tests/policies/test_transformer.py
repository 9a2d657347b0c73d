"""A transformer's memory: one step at a time as all at once, and a window that slides."""

import numpy as np
import pytest
import torch

from metarl.errors import UserError
from metarl.policies.networks.memory_core import memory_after
from metarl.policies.networks.transformer import TransformerConfig, TransformerCore

F, D, WINDOW, N = 5, 8, 7, 3


def core_of(layers=2, heads=2, window=WINDOW, width=D):
    core = TransformerCore(TransformerConfig(layers=layers, heads=heads), F, width, window)
    core.module.double()
    core.initialise(torch.Generator().manual_seed(0))
    return core


def inputs_of(steps, seed=0):
    return torch.randn(steps, N, F, generator=torch.Generator().manual_seed(seed)).double()


def stepped(core, inputs_TNF, memory):
    """Outputs of acting, and its memory."""
    step, parts = core.on_arrays(), [part.numpy().copy() for part in memory]
    outputs = []
    for row in inputs_TNF.numpy():
        output, parts = step(row, parts)
        outputs.append(output)
    return torch.from_numpy(np.stack(outputs)), [torch.from_numpy(part) for part in parts]


def core_after(core, inputs_TNF, lengths):
    start = [part.numpy() for part in core.empty(N)]
    inputs_NTF = inputs_TNF.transpose(0, 1).numpy()
    parts = memory_after(core.on_arrays(), inputs_NTF, start, np.array(lengths))
    return [torch.from_numpy(part) for part in parts]


def by_hand(core, inputs_TNF):
    """Each step attends to the last W, its own included, one product at a time."""
    module = core.module
    streams = [torch.tanh(module.embed(inputs)) for inputs in inputs_TNF]
    for layer in module.layers:
        triples = [layer.attended(layer.norm(x)).chunk(3, dim=-1) for x in streams]
        new = []
        for t, x in enumerate(streams):
            mixed = []
            for head, size in enumerate([D // core.heads] * core.heads):
                part = slice(head * size, (head + 1) * size)
                first = max(0, t - core.window + 1)
                scores = torch.stack(
                    [
                        (triples[t][0][:, part] * triples[s][1][:, part]).sum(-1) * size**-0.5
                        - (t - s) * 2.0 ** (-8 * (head + 1) / core.heads)
                        for s in range(first, t + 1)
                    ]
                )
                weights = scores.softmax(0)
                values = torch.stack([triples[s][2][:, part] for s in range(first, t + 1)])
                mixed.append((weights[..., None] * values).sum(0))
            x = x + layer.out(torch.cat(mixed, dim=-1))
            new.append(x + layer.down(torch.relu(layer.up(layer.norm2(x)))))
        streams = new
    return torch.stack([module.norm(x) for x in streams])


@torch.no_grad()
def test_attention_equals_products_by_hand_also_beyond_the_window():
    core, inputs = core_of(), inputs_of(3 * WINDOW)
    expected = by_hand(core, inputs)
    for found in (core.whole(inputs), stepped(core, inputs, core.empty(N))[0]):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("first", [1, 4, WINDOW, WINDOW + 2])
@torch.no_grad()
def test_a_memory_continues_what_it_has_seen(first):
    core, inputs = core_of(), inputs_of(4 * WINDOW)
    outputs, memory = core.run(inputs[:first], core.empty(N))
    rest, _ = core.run(inputs[first:], memory)
    torch.testing.assert_close(torch.cat([outputs, rest]), core.whole(inputs))


@torch.no_grad()
def test_memories_of_other_lengths_stand_side_by_side():
    core, inputs, lengths = core_of(), inputs_of(WINDOW + 3), [0, 4, WINDOW + 3]
    memory = core_after(core, inputs, lengths)
    more = inputs_of(WINDOW + 5, seed=1)
    for found in (core.run(more, memory)[0], stepped(core, more, memory)[0]):
        for n, length in enumerate(lengths):
            alone = torch.cat([inputs[:length, n : n + 1], more[:, n : n + 1]])
            torch.testing.assert_close(found[:, n], core.whole(alone)[length:, 0])


@torch.no_grad()
@pytest.mark.parametrize("heads", [2, 3])  # slopes that float32 holds, and some that it does not
def test_the_cache_of_acting_is_that_of_the_replay(heads):
    core = core_of(heads=heads, width=D if heads == 2 else 9)
    inputs = inputs_of(2 * WINDOW + 1)
    _, acted = stepped(core, inputs, core.empty(N))
    for a, b in zip(acted, core.run(inputs, core.empty(N))[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_what_comes_later_changes_nothing_before():
    core, inputs = core_of(), inputs_of(6)
    changed = inputs.clone()
    changed[4] += 1.0
    before, after = core.whole(inputs), core.whole(changed)
    assert torch.equal(before[:4], after[:4]) and not torch.allclose(before[4:], after[4:])


def test_gradients_equal_finite_differences():
    core, inputs = core_of(), inputs_of(5)
    weight = core.module.layers[0].attended.weight

    def total():
        return core.whole(inputs).square().sum() + core.whole(inputs)[..., 0].sum()

    (gradient,) = torch.autograd.grad(total(), [weight])
    for index in ((0, 0), (D + 1, 3), (2 * D + 2, 5)):
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight[index] += step
                values.append(float(total()))
                weight[index] -= step
        assert float(gradient[index]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def test_caches_that_no_machine_holds_are_refused():
    core = core_of(window=10**9)
    with pytest.raises(UserError, match="attention over 1,000,000,000 steps of 100 episodes need"):
        core.empty(100)
