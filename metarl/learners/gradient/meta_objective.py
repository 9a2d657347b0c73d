"""The outer objective of gradient-based learners, differentiated through the adaptation.

L(theta) = mean_i sum w A r_i, r_i = pi(phi_i(theta)) / pi(phi_i(theta_old)) on query rollouts
(clipped where asked), and C(theta) = mean_i sum w KL(pi(phi_i(theta_old)) || pi(phi_i(theta))). At
theta_old, C has value and gradient zero, and Hessian mean_i J_i^T F_i J_i with J_i = d phi_i / d
theta and F_i the Fisher matrix of the adapted policy. Terms on support rollouts may join L, see
`terms`.

Shapes: M tasks, E episodes per task, H steps, N = E H, P meta-parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from metarl.estimators.advantages import Samples
from metarl.estimators.objectives import Objective, clipped_ratio, likelihood_ratio
from metarl.interaction.threads import on_all_cores, task_chunks
from metarl.learners.base import World
from metarl.learners.gradient.curvature import ChunkCurvature
from metarl.learners.gradient.inner_loop import InnerLoop
from metarl.learners.gradient.jacobian import StepJacobian
from metarl.learners.gradient.terms import SupportStep, SupportTerm, mean_kl
from metarl.params import Params, detach, flatten_tasks, task_slice, tile, unflatten
from metarl.policies.distributions import Distribution


@dataclass(frozen=True)
class Experience:
    """Everything collected in one iteration, for this process's tasks.

    Attributes:
        adapted: parameters before each adaptation step and after the last: K+1 dicts.
        supports: what each adaptation step was made from.
        query: rollouts after adaptation.
    """

    adapted: Sequence[Params]
    supports: Sequence[Samples]
    query: Samples


@dataclass(frozen=True)
class ObjectiveConfig:
    """How an outer objective is computed.

    Attributes:
        task_chunk: tasks to differentiate together; bounds memory, changes nothing else.
        query_states: valid query states that curvature products are averaged over; None for all.
        support_states: valid support states per task in the same products.
        entropy_bonus: weight of the adapted policies' mean entropy on query states.
    """

    task_chunk: int
    query_states: int | None = None
    support_states: int | None = None
    entropy_bonus: float = 0.0


class MetaObjective:
    """Value, gradient and curvature of one iteration's outer objective.

    Args:
        inner: the inner loop.
        theta: the meta-parameters at which the rollouts were made.
        experience: those rollouts.
        config: how it is computed.
        world: all processes; sums over tasks are over theirs too.
        meta_batch: tasks of all processes.
        terms: further terms on support rollouts.
    """

    def __init__(
        self,
        inner: InnerLoop,
        theta: Params,
        experience: Experience,
        config: ObjectiveConfig,
        world: World,
        meta_batch: int,
        terms: Sequence[SupportTerm] = (),
    ) -> None:
        self.inner, self.theta, self.experience = inner, theta, experience
        self._config, self._world, self._meta_batch = config, world, meta_batch
        self._terms = terms
        self._num_tasks = experience.query.obs_MEHO.shape[0]
        self._curvature: list[ChunkCurvature] | None = None
        self._sampling: dict[int, Distribution] = {}  # on query states, by a chunk's first task

    def gradient(self, theta: Params | None = None, clip: float | None = None) -> Tensor:
        """Gradient of the objective as a float64 vector.

        Args:
            theta: where; None for theta_old. Elsewhere the adaptation is made again.
            clip: clip range of the query ratios, or None.
        """
        surrogate = likelihood_ratio if clip is None else partial(clipped_ratio, clip=clip)
        return self._mean_over_tasks(
            on_all_cores(lambda c: self._chunk_gradient(theta, c, surrogate), self._chunks())
        )

    def _chunk_gradient(self, theta: Params | None, chunk: slice, surrogate: Objective) -> Tensor:
        """Gradient of each task's objective in theta: shape (M, P)."""
        path, supports = self._path(theta, chunk), self.experience.supports
        query = self.experience.query.task_slice(chunk)
        gradient = self._query_gradient(path[-1], query, surrogate)
        for index in reversed(range(len(supports))):
            support = supports[index].task_slice(chunk)
            gradient = StepJacobian(self.inner, path[index], support, index).vjp(gradient)
            if self._terms:
                local = self._terms_gradient(path[index], support, index, chunk)
                gradient = {name: gradient[name] + local.get(name, 0.0) for name in gradient}
        return self._flat(gradient)

    def fisher_product(self, vector: Tensor) -> Tensor:
        """mean_i J_i^T F_i J_i times a float64 vector."""
        if self._curvature is None:
            supports = self.experience.supports
            per_task = self._config.support_states
            if self.inner.separable and per_task is not None:
                supports = [self._thinned(s, per_task * self._meta_batch) for s in supports]
            query = self._thinned(self.experience.query, self._config.query_states)
            self._curvature = on_all_cores(
                lambda chunk: self._chunk_curvature(chunk, supports, query), self._chunks()
            )
        direction, start = unflatten(vector, self.theta), self.experience.adapted[0]
        curvatures = list(zip(self._curvature, self._chunks(), strict=True))

        def product(part: tuple[ChunkCurvature, slice]) -> Tensor:
            curvature, chunk = part
            return self._flat(curvature.product(self._with_context(direction, start, chunk)))

        return self._mean_over_tasks(on_all_cores(product, curvatures))

    def evaluate(self, theta: Params) -> tuple[float, float]:
        """The objective and C at `theta`, with the adaptation made again from there."""
        values_M2 = on_all_cores(lambda chunk: self._chunk_values(theta, chunk), self._chunks())
        value, divergence = self._mean_over_tasks(values_M2).tolist()
        return value, divergence

    @torch.no_grad()
    def _chunk_values(self, theta: Params, chunk: slice) -> Tensor:
        """Objective and KL of each task: shape (M, 2)."""
        path, query = self._path(theta, chunk), self.experience.query.task_slice(chunk)
        new = self._distribution(path[-1], query)
        if chunk.start not in self._sampling:
            old = task_slice(self.experience.adapted[-1], chunk)
            at_start = theta is self.theta
            self._sampling[chunk.start] = new if at_start else self._distribution(old, query)
        value_M = self._surrogate(new, query, likelihood_ratio)
        for index in range(len(self.experience.supports) if self._terms else 0):
            support = self.experience.supports[index].task_slice(chunk)
            value_M = value_M + self._terms_value(path[index], support, index, chunk)
        kl_M = mean_kl(self._sampling[chunk.start], new, query)
        return torch.stack([value_M, kl_M], dim=1)

    def support_kl(self, theta: Params) -> float:
        """Mean KL between the policies that collected support rollouts and those at `theta`."""
        if not self.experience.supports:
            return 0.0
        return float(
            self._mean_over_tasks(
                on_all_cores(lambda chunk: self._chunk_support_kl(theta, chunk), self._chunks())
            )
        )

    @torch.no_grad()
    def _chunk_support_kl(self, theta: Params, chunk: slice) -> Tensor:
        """Mean over adaptation steps, for each task: shape (M, 1)."""
        path, kls_M = self._path(theta, chunk), []
        for index, support in enumerate(self.experience.supports):
            step = self._support_step(path[index], support.task_slice(chunk), index, chunk)
            kls_M.append(mean_kl(step.sampler(), step.policy, step.samples))
        return torch.stack(kls_M, dim=1).mean(1, keepdim=True)

    # Parts

    def _mean_over_tasks(self, chunks_MP: Sequence[Tensor]) -> Tensor:
        """Mean over the tasks of all processes, of rows by chunk of this process's tasks."""
        return self._world.sum_over_tasks(torch.cat(list(chunks_MP))) / self._meta_batch

    def _flat(self, params_M: Params) -> Tensor:
        return flatten_tasks({name: params_M[name] for name in self.theta})

    def _path(self, theta: Params | None, chunk: slice) -> list[Params]:
        """Parameters of a chunk before each adaptation step and after the last."""
        adapted = self.experience.adapted
        if theta is None or theta is self.theta:
            return [task_slice(params, chunk) for params in adapted]
        path = [self._with_context(theta, adapted[0], chunk, zero=False)]
        for index, support in enumerate(self.experience.supports):
            path.append(self.inner.step(path[-1], support.task_slice(chunk), index))
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

    def _surrogate(self, new: Distribution, query: Samples, surrogate: Objective) -> Tensor:
        weights, advantages = query.weights_MEH, query.advantages_MEH
        value_M = surrogate(query.log_probs_of(new), query.log_probs_MEH, advantages, weights)
        if self._config.entropy_bonus:
            entropy = new.entropy().expand(weights.flatten(1).shape)
            value_M = value_M + self._config.entropy_bonus * (weights.flatten(1) * entropy).sum(1)
        return value_M

    def _query_gradient(self, params_M: Params, query: Samples, surrogate: Objective) -> Params:
        leaves = detach(params_M, requires_grad=True)
        with torch.enable_grad():
            total = self._surrogate(self._distribution(leaves, query), query, surrogate).sum()
        return _gradient(total, leaves)

    def _terms_gradient(
        self, params_M: Params, support: Samples, index: int, chunk: slice
    ) -> Params:
        leaves = detach(params_M, requires_grad=True)
        with torch.enable_grad():
            total = self._terms_value(leaves, support, index, chunk).sum()
        return _gradient(total, leaves)

    def _terms_value(self, params_M: Params, support: Samples, index: int, chunk: slice) -> Tensor:
        """The terms on one step's support rollouts: shape (M,)."""
        step = self._support_step(params_M, support, index, chunk)
        return torch.stack([term(step) for term in self._terms]).sum(0)

    def _support_step(
        self, params_M: Params, support: Samples, index: int, chunk: slice
    ) -> SupportStep:
        def sampler() -> Distribution:
            with torch.no_grad():
                old = task_slice(self.experience.adapted[index], chunk)
                return self._distribution(old, support)

        return SupportStep(support, self._distribution(params_M, support), sampler, chunk)

    def _distribution(self, params_M: Params, samples: Samples) -> Distribution:
        return self.inner.policy(params_M, samples.obs_MEHO.flatten(1, 2))

    def _chunks(self) -> list[slice]:
        states = max(s.states for s in (self.experience.query, *self.experience.supports))
        return task_chunks(self._num_tasks, self._config.task_chunk, states)

    def _thinned(self, samples: Samples, states: int | None) -> Samples:
        """Some of the steps, so that about `states` valid ones of all processes remain."""
        valid_M1 = (samples.weights_MEH > 0).sum((1, 2)).unsqueeze(-1)
        total = int(self._world.sum_over_tasks(valid_M1))
        return samples.some((states or total) / max(1, total))

    def _chunk_curvature(
        self, chunk: slice, supports: Sequence[Samples], query: Samples
    ) -> ChunkCurvature:
        adapted = self.experience.adapted
        jacobians = [
            StepJacobian(
                self.inner, task_slice(adapted[index], chunk), support.task_slice(chunk), index
            )
            for index, support in enumerate(supports)
        ]
        params_M = task_slice(adapted[-1], chunk)
        return ChunkCurvature(self.inner, jacobians, params_M, query.task_slice(chunk))


def _gradient(total: Tensor, leaves: Params) -> Params:
    inputs = list(leaves.values())
    grads = torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, grads, strict=True))
