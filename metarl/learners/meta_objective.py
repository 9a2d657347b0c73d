"""The outer surrogate of gradient-based learners, differentiated through the adaptation.

L(theta) = mean_i sum w A pi(phi_i(theta)) / pi(phi_i(theta_old)) on query rollouts, and
C(theta) = mean_i sum w KL(pi(phi_i(theta_old)) || pi(phi_i(theta))). At theta_old, C has value and
gradient zero, and Hessian mean_i J_i^T F_i J_i with J_i = d phi_i / d theta and F_i the Fisher
matrix of the adapted policy (third-order terms vanish with the gradient of the KL).

Shapes: M tasks, N query states per task.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from metarl.distributions import Distribution
from metarl.learners.inner_loop import Batch, InnerLoop, StepJacobian
from metarl.objectives import likelihood_ratio
from metarl.params import Params, detach, flatten, task_slice, tile, unflatten


class MetaObjective:
    """Value, gradient and curvature of one iteration's outer objective at theta_old.

    Args:
        inner: the inner loop.
        theta: the meta-parameters at which the rollouts were made.
        adapted: parameters before each adaptation step and after the last: K+1 dicts.
        supports: one batch per adaptation step.
        query: the batch after adaptation.
        task_chunk: tasks to differentiate together; bounds memory, changes nothing else.
        fisher_fraction: share of the states that curvature products are averaged over.
    """

    def __init__(
        self,
        inner: InnerLoop,
        theta: Params,
        adapted: Sequence[Params],
        supports: Sequence[Batch],
        query: Batch,
        task_chunk: int,
        fisher_fraction: float = 1.0,
    ) -> None:
        self._inner, self.theta = inner, theta
        self._adapted, self._supports, self._query = adapted, supports, query
        self._num_tasks = query.obs_MEHO.shape[0]
        self._task_chunk = task_chunk
        self._stride = max(1, round(1.0 / fisher_fraction))
        self._curvature: list[_ChunkCurvature] | None = None

    def gradient(self) -> Tensor:
        """d L / d theta at theta_old, as a float64 vector."""
        total = torch.zeros_like(flatten(self.theta))
        for chunk in self._chunks():
            query = self._query.task_slice(chunk)
            grad = detach(self._surrogate_gradient(task_slice(self._adapted[-1], chunk), query))
            for index in reversed(range(len(self._supports))):
                grad = self._step_jacobian(index, chunk, stride=1).product(grad)
            total += _sum_over_tasks(grad)
        return total / self._num_tasks

    def fisher_product(self, vector: Tensor) -> Tensor:
        """mean_i J_i^T F_i J_i times a float64 vector."""
        if self._curvature is None:
            self._curvature = [self._chunk_curvature(chunk) for chunk in self._chunks()]
        direction = unflatten(vector, self.theta)
        total = torch.zeros_like(vector)
        for curvature in self._curvature:
            total += curvature.product(direction)
        return total / self._num_tasks

    def evaluate(self, theta: Params) -> tuple[float, float]:
        """L and C at `theta`, with the adaptation made again from there."""
        surrogate = divergence = 0.0
        for chunk in self._chunks():
            params = tile(theta, _length(chunk))
            for index, support in enumerate(self._supports):
                params = self._inner.step(params, support.task_slice(chunk), index)
            query = self._query.task_slice(chunk)
            with torch.no_grad():
                new = self._distribution(params, query)
                old = self._distribution(task_slice(self._adapted[-1], chunk), query)
                surrogate += float(_surrogate(new, query).sum())
                kl_MEH = old.kl(new).view_as(query.weights_MEH)
                divergence += float((query.weights_MEH * kl_MEH).sum())
        return surrogate / self._num_tasks, divergence / self._num_tasks

    def _surrogate_gradient(self, params_M: Params, query: Batch) -> Params:
        leaves = detach(params_M, requires_grad=True)
        with torch.enable_grad():
            total = _surrogate(self._distribution(leaves, query), query).sum()
            grads = torch.autograd.grad(total, list(leaves.values()))
        return dict(zip(leaves, grads, strict=True))

    def _distribution(self, params_M: Params, batch: Batch) -> Distribution:
        return self._inner.policy(params_M, batch.obs_MEHO.flatten(1, 2))

    def _chunks(self) -> Iterator[slice]:
        for first in range(0, self._num_tasks, self._task_chunk):
            yield slice(first, min(first + self._task_chunk, self._num_tasks))

    def _step_jacobian(self, index: int, chunk: slice, stride: int) -> StepJacobian:
        support = self._supports[index].task_slice(chunk).every(stride)
        return StepJacobian(self._inner, task_slice(self._adapted[index], chunk), support, index)

    def _chunk_curvature(self, chunk: slice) -> "_ChunkCurvature":
        stride = self._stride if self._inner.separable else 1
        steps = range(len(self._supports))
        jacobians = [self._step_jacobian(index, chunk, stride) for index in steps]
        query = self._query.task_slice(chunk).every(self._stride)
        return _ChunkCurvature(self._inner, jacobians, task_slice(self._adapted[-1], chunk), query)


class _ChunkCurvature:
    """sum_i J_i^T F_i J_i of a chunk of tasks, with everything that products share kept."""

    def __init__(
        self, inner: InnerLoop, jacobians: list[StepJacobian], params_M: Params, query: Batch
    ) -> None:
        self._jacobians = jacobians
        self._params = detach(params_M)
        self._weights_MN = query.weights_MEH.flatten(1, 2)
        obs_MNO = query.obs_MEHO.flatten(1, 2)

        def distribution(params: Params) -> tuple[Tensor, ...]:
            return inner.policy(params, obs_MNO).parameters

        self._parameters_of = distribution
        self._distribution = inner.policy(self._params, obs_MNO)
        _, self._pull_back, *_ = torch.func.vjp(distribution, self._params)

    def product(self, direction: Params) -> Tensor:
        num_tasks = self._weights_MN.shape[0]
        tangent = {name: value.contiguous() for name, value in tile(direction, num_tasks).items()}
        for jacobian in self._jacobians:
            tangent = jacobian.product(tangent)
        _, pushed, *_ = torch.func.jvp(self._parameters_of, (self._params,), (tangent,))
        (cotangent,) = self._pull_back(self._distribution.fisher(pushed, self._weights_MN))
        for jacobian in reversed(self._jacobians):
            cotangent = jacobian.product(cotangent)
        return _sum_over_tasks(cotangent)


def _surrogate(distribution: Distribution, query: Batch) -> Tensor:
    log_probs_MN = distribution.log_prob(query.actions_MEHA.flatten(1, 2))
    return likelihood_ratio(
        log_probs_MN.view_as(query.log_probs_MEH),
        query.log_probs_MEH,
        query.advantages_MEH,
        query.weights_MEH,
    )


def _sum_over_tasks(params_M: Params) -> Tensor:
    return flatten({name: value.double().sum(0) for name, value in params_M.items()})


def _length(chunk: slice) -> int:
    return chunk.stop - chunk.start
