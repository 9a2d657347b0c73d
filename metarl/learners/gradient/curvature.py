"""Curvature of the outer objective's trust region, as products.

Shapes: M tasks of a chunk, N query states; a product has the shapes of its operand.
"""

import torch

from metarl.estimators.advantages import Samples
from metarl.learners.gradient.inner_loop import InnerLoop
from metarl.learners.gradient.jacobian import StepJacobian
from metarl.params import Params


class ChunkCurvature:
    """J_i^T F_i J_i of a chunk of tasks, with everything that products share kept."""

    def __init__(
        self, inner: InnerLoop, jacobians: list[StepJacobian], params_M: Params, query: Samples
    ) -> None:
        self._jacobians = jacobians
        self._weights_MN = query.weights_MEH.flatten(1, 2)
        self._derivatives = inner.derivatives(params_M, query)
        self._zeros = {name: torch.zeros_like(value) for name, value in params_M.items()}

    def product(self, tangent_M: Params) -> Params:
        """J_i^T F_i J_i times a tangent per task."""
        for jacobian in self._jacobians:
            tangent_M = jacobian.jvp(tangent_M)
        change = self._derivatives.jvp(tangent_M)
        gradient, _ = self._derivatives.vjp(
            self._derivatives.distribution.fisher(change, self._weights_MN)
        )
        cotangent = self._zeros | gradient
        for jacobian in reversed(self._jacobians):
            cotangent = jacobian.vjp(cotangent)
        return cotangent
