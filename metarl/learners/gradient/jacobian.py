"""The Jacobian of one step of the inner loop, as products.

Shapes: M tasks; a product has the shapes of its operand.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from metarl.estimators.advantages import Samples
from metarl.learners.gradient.inner_loop import STEP_SIZE, InnerLoop
from metarl.params import Params, detach


class StepJacobian:
    """Products with J = d phi' / d (phi, alpha) at one step of the inner loop.

    With H the Hessian of the surrogate (per task) and g its gradient:
    J (v, a) = v + alpha * H v + a * g, and J^T u = (u + H (alpha * u), g * u).
    """

    def __init__(
        self, inner: InnerLoop, params_M: Mapping[str, Tensor], samples: Samples, index: int
    ) -> None:
        params = detach(params_M)
        self._rates = inner.rates(params, index)
        still = all(isinstance(rate, float) and rate == 0.0 for rate in self._rates.values())
        self._flat = inner.first_order or still
        if self._flat:
            self._gradient = inner.gradient(params, samples)
            return
        self._derivatives = inner.derivatives(params, samples)
        distribution = self._derivatives.distribution
        self._parameters = tuple(p.detach().requires_grad_() for p in distribution.parameters)
        with torch.enable_grad():
            total = inner.value(type(distribution)(*self._parameters), samples).sum()
            self._first = torch.autograd.grad(total, self._parameters, create_graph=True)
        self._gradient, self._kept = self._derivatives.vjp(tuple(c.detach() for c in self._first))

    def jvp(self, tangent_M: Params) -> Params:
        """J times a tangent per task."""
        curved = self._hessian(tangent_M)
        product = dict(tangent_M)
        for name, rate in self._rates.items():
            if curved is not None:
                product[name] = product[name] + rate * curved[name]
            if f"{STEP_SIZE}{name}" in tangent_M:
                rate_change = tangent_M[f"{STEP_SIZE}{name}"]
                product[name] = product[name] + rate_change * self._gradient[name]
        return product

    def vjp(self, cotangent_M: Params) -> Params:
        """J transposed times a cotangent per task."""
        product = dict(cotangent_M)
        weighted = {name: torch.zeros_like(value) for name, value in self._gradient.items()}
        for name, rate in self._rates.items():
            weighted[name] = rate * cotangent_M[name]
            key = f"{STEP_SIZE}{name}"
            if key in cotangent_M:
                share = self._gradient[name] * cotangent_M[name]
                product[key] = product[key] + share.sum_to_size(product[key].shape)
        curved = self._hessian(weighted)
        if curved is not None:
            for name, value in curved.items():
                product[name] = product[name] + value
        return product

    def _hessian(self, vector_M: Params) -> Params | None:
        if self._flat:
            return None
        return self._derivatives.hvp(vector_M, self._kept, self._second)

    def _second(self, changes: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Change of the surrogate's gradient in the distributions' parameters."""
        curved = [(c, u) for c, u in zip(self._first, changes, strict=True) if c.requires_grad]
        if not curved:
            return tuple(torch.zeros_like(p) for p in self._parameters)
        gradients, along = zip(*curved, strict=True)
        # the Hessian is symmetric: times a vector from either side
        return torch.autograd.grad(
            gradients, self._parameters, along, retain_graph=True, materialize_grads=True
        )
