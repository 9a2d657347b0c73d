import pytest
import torch

from metarl.params import tile
from metarl.policies.networks.tanh_mlp import StackedMLP

M, N = 3, 7


def plain(params, inputs):
    """The same network in ordinary operations, for autograd to differentiate."""
    layers = len(params) // 2
    for layer in range(layers):
        inputs = inputs @ params[f"layer_{layer}.weight"] + params[f"layer_{layer}.bias"][:, None]
        inputs = inputs.tanh() if layer < layers - 1 else inputs
    return inputs


@pytest.fixture(params=[(4, 2), (4, 20), (4, 5, 2), (5, 20, 17, 3), (5, 3, 20, 18)])
def problem(request, float64):
    network = StackedMLP(request.param)
    g = torch.Generator().manual_seed(0)
    params = {
        name: value.repeat(M, *[1] * value.dim()) + 0.3 * torch.randn(M, *value.shape, generator=g)
        for name, value in network.init(g).items()
    }
    inputs = torch.randn(M, N, request.param[0], generator=g)
    for value in [*params.values(), inputs]:
        value.requires_grad_()
    weights = torch.randn(M, N, request.param[-1], generator=g)
    along = [torch.randn(v.shape, generator=g) for v in [*params.values(), inputs]]
    return network, params, inputs, weights, along


def derivatives(network, params, inputs, weights, along, with_inputs):
    """Value, gradient and Hessian-vector product of a curved function of the outputs."""
    leaves = [*params.values(), inputs] if with_inputs else list(params.values())
    obs = inputs if with_inputs else inputs.detach()
    value = (weights * network(params, obs).square()).sum()
    gradient = torch.autograd.grad(value, leaves, create_graph=True)
    product = torch.autograd.grad(
        gradient, leaves, along[: len(leaves)], allow_unused=True, materialize_grads=True
    )
    return [value, *gradient, *product]


@pytest.mark.parametrize("with_inputs", [False, True])
def test_first_and_second_derivatives_equal_autograd(problem, with_inputs):
    network, *rest = problem
    for ours, theirs in zip(
        derivatives(network, *rest, with_inputs),
        derivatives(plain, *rest, with_inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_first_and_second_derivatives_equal_finite_differences(problem):
    network, params, inputs, *_ = problem
    names = list(params)

    def function(inputs, *values):
        return network(dict(zip(names, values, strict=True)), inputs)

    arguments = (inputs, *params.values())
    assert torch.autograd.gradcheck(function, arguments, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, arguments, fast_mode=True)


def test_forward_mode_equals_autograd(problem):
    network, params, inputs, _, along = problem
    params = {name: value.detach() for name, value in params.items()}
    tangents = dict(zip(params, along[:-1], strict=True))

    def ours(p):
        return network(p, inputs.detach())

    def theirs(p):
        return plain(p, inputs.detach())

    for a, b in zip(
        torch.func.jvp(ours, (params,), (tangents,)),
        torch.func.jvp(theirs, (params,), (tangents,)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_shared_parameters_need_no_copies_per_task(problem):
    network, _, inputs, *_ = problem
    params = network.init(torch.Generator().manual_seed(1))
    params = {name: value.double() for name, value in params.items()}
    copies = {name: value.repeat(M, *[1] * value.dim()) for name, value in params.items()}
    torch.testing.assert_close(network(tile(params, M), inputs), network(copies, inputs))


def test_third_derivatives_are_refused(problem):
    network, params, inputs, weights, _ = problem
    leaves = list(params.values())
    value = (weights * network(params, inputs)).sum()
    gradient = torch.autograd.grad(value, leaves, create_graph=True)
    squared = sum(g.square().sum() for g in gradient)
    second = torch.autograd.grad(squared, leaves, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        sum(s.sum() for s in second).backward()
