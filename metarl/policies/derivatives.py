"""Policies around fixed parameters and states: products with first and second derivatives.

With p(params) the parameters of the action distributions and J their Jacobian: J v, J^T c, and the
derivative of J^T c along v while c changes with p. The last is a Hessian-vector product of any
objective of p, in one sweep forwards and one back (Pearlmutter 1994).

Shapes: M tasks, N states per task; a product has the shapes of its operand.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from metarl.params import Params, detach
from metarl.policies.distributions import DiagonalGaussian, Distribution
from metarl.policies.networks.tanh_mlp import StackedMLP
from metarl.policies.policy import GaussianPolicy, Policy

K = TypeVar("K")  # what a product keeps for the second derivative
Parts = tuple[Tensor, ...]  # one tensor per parameter of a distribution


class PolicyDerivatives(Protocol[K]):
    """What the products share is computed once.

    Attributes:
        distribution: the policy's, at all states.
    """

    distribution: Distribution

    def jvp(self, tangent_M: Mapping[str, Tensor]) -> Parts:
        """J v."""
        ...

    def vjp(self, cotangents: Parts) -> tuple[Params, K]:
        """J^T c, and what `hvp` needs of it."""
        ...

    def hvp(
        self, tangent_M: Mapping[str, Tensor], kept: K, second: Callable[[Parts], Parts]
    ) -> Params:
        """Derivative along v of J^T c; c changes by `second` of the change of p."""
        ...


def derivatives_of(policy: Policy, params_M: Params, obs_MNO: Tensor) -> PolicyDerivatives:
    """The policy around `params_M`, in closed form where there is one."""
    if isinstance(policy, GaussianPolicy) and isinstance(policy.network, StackedMLP):
        return GaussianTanhDerivatives(policy, policy.network, params_M, obs_MNO)
    return AutogradDerivatives(policy, params_M, obs_MNO)


Deltas = list[Tensor]  # of every layer


class GaussianTanhDerivatives:
    """A Gaussian whose mean is a tanh network."""

    def __init__(
        self, policy: GaussianPolicy, network: StackedMLP, params_M: Params, obs_MNO: Tensor
    ) -> None:
        self._network = network.derivatives(params_M, obs_MNO)
        log_std_MA = params_M["log_std"].detach()
        floored_MA = policy.floored(log_std_MA)
        self._free_MA = (floored_MA == log_std_MA).to(log_std_MA)  # at the floor nothing moves
        self.distribution: Distribution = DiagonalGaussian(
            self._network.outputs, floored_MA.unsqueeze(1)
        )

    def jvp(self, tangent_M: Mapping[str, Tensor]) -> Parts:
        return self._network.jvp(tangent_M).sums[-1], self._log_std_change(tangent_M)

    def vjp(self, cotangents: Parts) -> tuple[Params, Deltas]:
        gradient, deltas = self._network.vjp(cotangents[0])
        gradient["log_std"] = self._log_std_gradient(cotangents[1])
        return gradient, deltas

    def hvp(
        self, tangent_M: Mapping[str, Tensor], kept: Deltas, second: Callable[[Parts], Parts]
    ) -> Params:
        change = self._network.jvp(tangent_M)
        mean, log_std = second((change.sums[-1], self._log_std_change(tangent_M)))
        product = self._network.hvp(change, tangent_M, kept, mean)
        product["log_std"] = self._log_std_gradient(log_std)
        return product

    def _log_std_change(self, tangent_M: Mapping[str, Tensor]) -> Tensor:
        return (tangent_M["log_std"] * self._free_MA).unsqueeze(1)

    def _log_std_gradient(self, cotangent_M1A: Tensor) -> Tensor:
        return cotangent_M1A.squeeze(1) * self._free_MA


class AutogradDerivatives:
    """Any policy that autograd can differentiate twice."""

    def __init__(self, policy: Policy, params_M: Params, obs_MNO: Tensor) -> None:
        self._leaves = detach(params_M, requires_grad=True)
        with torch.enable_grad():
            distribution = policy(self._leaves, obs_MNO)
        self._parameters = distribution.parameters
        self.distribution = type(distribution)(*(part.detach() for part in self._parameters))

    def jvp(self, tangent_M: Mapping[str, Tensor]) -> Parts:
        # derivative of J^T u in u: forward differentiation has one state for all threads
        with torch.enable_grad():
            dummies = tuple(torch.zeros_like(p, requires_grad=True) for p in self._parameters)
            graph = self._derivative(self._parameters, dummies, create_graph=True)
            linear = {name: value for name, value in graph.items() if value.requires_grad}
            if not linear:
                return tuple(torch.zeros_like(part) for part in self._parameters)
            along = [tangent_M[name] for name in linear]
            return torch.autograd.grad(
                list(linear.values()), dummies, along, allow_unused=True, materialize_grads=True
            )

    def vjp(self, cotangents: Parts) -> tuple[Params, Params]:
        graph = self._derivative(self._parameters, cotangents, create_graph=True)
        return detach(graph), graph

    def hvp(
        self, tangent_M: Mapping[str, Tensor], kept: Params, second: Callable[[Parts], Parts]
    ) -> Params:
        of_change = self._derivative(self._parameters, second(self.jvp(tangent_M)))
        product = self._derivative(kept.values(), [tangent_M[name] for name in kept])
        return {name: of_change[name] + product[name] for name in product}

    def _derivative(
        self, outputs: Iterable[Tensor], cotangents: Iterable[Tensor], create_graph: bool = False
    ) -> Params:
        """Sum of <cotangent, output> in the leaves; outputs may be constant."""
        pairs = [pair for pair in zip(outputs, cotangents, strict=True) if pair[0].requires_grad]
        if not pairs:
            return {name: torch.zeros_like(value) for name, value in self._leaves.items()}
        gradient = torch.autograd.grad(
            [output for output, _ in pairs],
            list(self._leaves.values()),
            [cotangent for _, cotangent in pairs],
            retain_graph=True,
            create_graph=create_graph,
            materialize_grads=True,
        )
        return dict(zip(self._leaves, gradient, strict=True))
