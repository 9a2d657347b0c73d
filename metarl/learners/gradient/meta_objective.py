"""The outer objective of gradient-based learners, differentiated through the adaptation.

L(theta) = mean_i sum w A r_i, r_i = pi(phi_i(theta)) / pi(phi_i(theta_old)) on query rollouts
(clipped for PPO), and C(theta) = mean_i sum w KL(pi(phi_i(theta_old)) || pi(phi_i(theta))). At
theta_old, C has value and gradient zero, and Hessian mean_i J_i^T F_i J_i with J_i = d phi_i / d
theta and F_i the Fisher matrix of the adapted policy.

Two terms on support rollouts may join L: ProMP's penalty on the change of the policies that
collected them, and E-MAML's sampling term (see `LocalTerms`).

Shapes: M tasks, E episodes per task, H steps, N = E H.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, starmap

import torch
from torch import Tensor

from metarl.estimators.advantages import Batch
from metarl.estimators.objectives import Objective, clipped_ratio, likelihood_ratio
from metarl.learners.gradient.inner_loop import InnerLoop, StepJacobian
from metarl.params import Params, detach, flatten, task_slice, tile, unflatten
from metarl.policies.distributions import Distribution


@dataclass(frozen=True)
class LocalTerms:
    """Terms of the outer objective on the support rollouts of each adaptation step.

    Attributes:
        kl_coefficient: ProMP's penalty eta KL(pi(phi_k(theta_old)) || pi(phi_k(theta))), 0 for
            none (Rothfuss et al. 2019, arXiv 1810.06784, eq. 8).
        sampling_M: E-MAML's weight (J_i - b_i) of the log-probability of all support rollouts of
            task i, or None (Stadie et al. 2018, arXiv 1803.01118, eq. 6).
    """

    kl_coefficient: float = 0.0
    sampling_M: Tensor | None = None

    def __bool__(self) -> bool:
        return self.kl_coefficient != 0.0 or self.sampling_M is not None


class MetaObjective:
    """Value, gradient and curvature of one iteration's outer objective.

    Args:
        inner: the inner loop.
        theta: the meta-parameters at which the rollouts were made.
        adapted: parameters before each adaptation step and after the last: K+1 dicts.
        supports: one batch per adaptation step.
        query: the batch after adaptation.
        task_chunk: tasks to differentiate together; bounds memory, changes nothing else.
        fisher_states: number of states that curvature products are averaged over; None for all.
        terms: further terms on support rollouts.
        entropy_bonus: weight of the adapted policies' mean entropy on query states.
    """

    def __init__(
        self,
        inner: InnerLoop,
        theta: Params,
        adapted: Sequence[Params],
        supports: Sequence[Batch],
        query: Batch,
        task_chunk: int,
        fisher_states: int | None = None,
        terms: LocalTerms | None = None,
        entropy_bonus: float = 0.0,
    ) -> None:
        self._inner, self.theta = inner, theta
        self._adapted, self._supports, self._query = adapted, supports, query
        self._num_tasks = query.obs_MEHO.shape[0]
        self._task_chunk = task_chunk
        num_states = query.weights_MEH.numel()
        self._stride = max(1, num_states // (fisher_states or num_states))
        self._terms, self._entropy_bonus = terms or LocalTerms(), entropy_bonus
        self._curvature: list[_ChunkCurvature] | None = None
        self._sampling: dict[int, Distribution] = {}  # on query states, by a chunk's first task

    def gradient(self, theta: Params | None = None, clip: float | None = None) -> Tensor:
        """Gradient of the objective as a float64 vector.

        Args:
            theta: where; None for theta_old. Elsewhere the adaptation is made again.
            clip: PPO's clip range of the query ratios, or None.
        """
        surrogate = likelihood_ratio if clip is None else partial(clipped_ratio, clip=clip)
        total = torch.zeros_like(flatten(self.theta))
        for chunk in self._chunks():
            path = self._path(theta, chunk)
            grad = self._query_gradient(path[-1], self._query.task_slice(chunk), surrogate)
            for index in reversed(range(len(self._supports))):
                support = self._supports[index].task_slice(chunk)
                grad = StepJacobian(self._inner, path[index], support, index).pull(grad)
                if self._terms:
                    local = self._local_gradient(path[index], support, index, chunk)
                    grad = {name: grad[name] + local.get(name, 0.0) for name in grad}
            total += self._sum_over_tasks(grad)
        return total / self._num_tasks

    def fisher_product(self, vector: Tensor) -> Tensor:
        """mean_i J_i^T F_i J_i times a float64 vector."""
        chunks = list(self._chunks(self._stride if self._inner.separable else 1))
        if self._curvature is None:
            self._curvature = [self._chunk_curvature(chunk) for chunk in chunks]
        direction = unflatten(vector, self.theta)
        total = torch.zeros_like(vector)
        for curvature, chunk in zip(self._curvature, chunks, strict=True):
            tangent = self._with_context(direction, self._adapted[0], chunk)
            total += self._sum_over_tasks(curvature.product(tangent))
        return total / self._num_tasks

    def evaluate(self, theta: Params) -> tuple[float, float]:
        """The objective and C at `theta`, with the adaptation made again from there."""
        value = divergence = 0.0
        with torch.no_grad():
            for chunk in self._chunks():
                path, query = self._path(theta, chunk), self._query.task_slice(chunk)
                new = self._distribution(path[-1], query)
                if chunk.start not in self._sampling:
                    old = task_slice(self._adapted[-1], chunk)
                    at_start = theta is self.theta
                    self._sampling[chunk.start] = (
                        new if at_start else self._distribution(old, query)
                    )
                value += float(self._surrogate(new, query, likelihood_ratio).sum())
                divergence += float(_kl(self._sampling[chunk.start], new, query).sum())
                for index in range(len(self._supports) if self._terms else 0):
                    support = self._supports[index].task_slice(chunk)
                    value += float(self._local_value(path[index], support, index, chunk).sum())
        return value / self._num_tasks, divergence / self._num_tasks

    def support_kl(self, theta: Params) -> float:
        """Mean KL between the policies that collected support rollouts and those at `theta`."""
        total = 0.0
        with torch.no_grad():
            for chunk in self._chunks():
                path = self._path(theta, chunk)
                for index in range(len(self._supports)):
                    support = self._supports[index].task_slice(chunk)
                    total += float(self._support_kl(path[index], support, index, chunk).sum())
        return total / max(1, self._num_tasks * len(self._supports))

    # Parts

    def _path(self, theta: Params | None, chunk: slice) -> list[Params]:
        """Parameters of a chunk before each adaptation step and after the last."""
        if theta is None or theta is self.theta:
            return [task_slice(params, chunk) for params in self._adapted]
        path = [self._with_context(theta, self._adapted[0], chunk, zero=False)]
        for index, support in enumerate(self._supports):
            path.append(self._inner.step(path[-1], support.task_slice(chunk), index))
        return path

    def _with_context(
        self, theta: Params, start: Params, chunk: slice, zero: bool = True
    ) -> Params:
        """theta per task, beside parameters that start at fixed values (a task's context)."""
        params = {n: v.contiguous() for n, v in tile(theta, chunk.stop - chunk.start).items()}
        for name in start.keys() - theta.keys():
            value = start[name][chunk]
            params[name] = torch.zeros_like(value) if zero else value
        return {name: params[name] for name in start}

    def _surrogate(self, new: Distribution, query: Batch, surrogate: Objective) -> Tensor:
        weights, advantages = query.weights_MEH, query.advantages_MEH
        value_M = surrogate(query.log_probs_of(new), query.log_probs_MEH, advantages, weights)
        if self._entropy_bonus:
            entropy = new.entropy().expand(weights.flatten(1).shape)
            value_M = value_M + self._entropy_bonus * (weights.flatten(1) * entropy).sum(1)
        return value_M

    def _query_gradient(self, params_M: Params, query: Batch, surrogate: Objective) -> Params:
        leaves = detach(params_M, requires_grad=True)
        with torch.enable_grad():
            total = self._surrogate(self._distribution(leaves, query), query, surrogate).sum()
        return _gradient(total, leaves)

    def _local_gradient(self, params_M: Params, support: Batch, index: int, chunk: slice) -> Params:
        leaves = detach(params_M, requires_grad=True)
        with torch.enable_grad():
            total = self._local_value(leaves, support, index, chunk).sum()
        return _gradient(total, leaves)

    def _local_value(self, params_M: Params, support: Batch, index: int, chunk: slice) -> Tensor:
        """The terms on one step's support rollouts: shape (M,)."""
        value_M = torch.zeros_like(support.weights_MEH[:, 0, 0])
        if self._terms.kl_coefficient:
            kl_M = self._support_kl(params_M, support, index, chunk)
            value_M = value_M - self._terms.kl_coefficient * kl_M
        if self._terms.sampling_M is not None:
            log_ratios = support.log_probs_under(self._inner.policy, params_M)
            log_ratios = (log_ratios - support.log_probs_MEH) * (support.weights_MEH > 0)
            value_M = value_M + self._terms.sampling_M[chunk] * log_ratios.sum((1, 2))
        return value_M

    def _support_kl(self, params_M: Params, support: Batch, index: int, chunk: slice) -> Tensor:
        """KL from the policies that collected one step's support rollouts: shape (M,)."""
        with torch.no_grad():
            old = self._distribution(task_slice(self._adapted[index], chunk), support)
        return _kl(old, self._distribution(params_M, support), support)

    def _distribution(self, params_M: Params, batch: Batch) -> Distribution:
        return self._inner.policy(params_M, batch.obs_MEHO.flatten(1, 2))

    def _chunks(self, stride: int = 1) -> Iterator[slice]:
        """Slices of tasks; about as many states in each if only every `stride`-th is used."""
        count = -(-self._num_tasks // self._task_chunk)
        if stride > 1:
            count = max(1, round(self._num_tasks / (self._task_chunk * stride)))
        bounds = [self._num_tasks * index // count for index in range(count + 1)]
        return starmap(slice, pairwise(bounds))

    def _chunk_curvature(self, chunk: slice) -> "_ChunkCurvature":
        stride = self._stride if self._inner.separable else 1
        jacobians = [
            StepJacobian(
                self._inner,
                task_slice(self._adapted[index], chunk),
                support.task_slice(chunk).every(stride),
                index,
            )
            for index, support in enumerate(self._supports)
        ]
        query = self._query.task_slice(chunk).every(self._stride)
        return _ChunkCurvature(self._inner, jacobians, task_slice(self._adapted[-1], chunk), query)

    def _sum_over_tasks(self, params_M: Params) -> Tensor:
        return flatten({name: params_M[name].double().sum(0) for name in self.theta})


class _ChunkCurvature:
    """J_i^T F_i J_i of a chunk of tasks, with everything that products share kept."""

    def __init__(
        self, inner: InnerLoop, jacobians: list[StepJacobian], params_M: Params, query: Batch
    ) -> None:
        self._jacobians = jacobians
        self._weights_MN = query.weights_MEH.flatten(1, 2)
        self._expansion = inner.expand(params_M, query)
        self._zeros = {name: torch.zeros_like(value) for name, value in params_M.items()}

    def product(self, tangent_M: Params) -> Params:
        for jacobian in self._jacobians:
            tangent_M = jacobian.push(tangent_M)
        pushed = self._expansion.push(tangent_M)
        pulled, _ = self._expansion.pull(
            self._expansion.distribution.fisher(pushed, self._weights_MN)
        )
        cotangent = self._zeros | pulled
        for jacobian in reversed(self._jacobians):
            cotangent = jacobian.pull(cotangent)
        return cotangent


def _kl(old: Distribution, new: Distribution, batch: Batch) -> Tensor:
    """Weighted KL of every task: shape (M,)."""
    return (batch.weights_MEH * old.kl(new).view_as(batch.weights_MEH)).sum((1, 2))


def _gradient(total: Tensor, leaves: Params) -> Params:
    inputs = list(leaves.values())
    grads = torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, grads, strict=True))
