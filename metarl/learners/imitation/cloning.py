"""Behaviour cloning as an outer objective, differentiated through the adaptation.

L(theta) = mean_i of the loss with which the policy adapted to task i, phi_i(theta), imitates
demonstrations of it. Shapes: M tasks, N steps of a task, O observation, A action, P parameters.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from metarl.environments.fit import Spec
from metarl.errors import ConfigError
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.threads import on_all_cores
from metarl.learners.base import World
from metarl.learners.gradient.outer import Adam, OuterResult
from metarl.params import Params, detach, flatten_tasks, tile
from metarl.policies.distributions import Distribution
from metarl.policies.policy import Policy

CloningLoss = Literal["mean_squared_error", "likelihood"]


class Shown(NamedTuple):
    """Steps of demonstrations.

    Attributes:
        obs_MNO: observations, as the policy sees them.
        actions_MNA: what the expert did there.
        weights_MN: one over the number of a task's steps, zero where there is none.
    """

    obs_MNO: Tensor
    actions_MNA: Tensor
    weights_MN: Tensor

    def of_tasks(self, tasks: slice) -> "Shown":
        """Those of some tasks."""
        return Shown(*(values[tasks] for values in self))

    @staticmethod
    def of_rollouts(rollouts: Rollouts, device: torch.device, dtype: torch.dtype) -> "Shown":
        """All valid steps of all episodes."""
        valid_MN = rollouts.valid_MEH.flatten(1).to(rollouts.rewards_MEH.dtype)
        weights_MN = valid_MN / valid_MN.sum(1, keepdim=True).clamp(min=1.0)
        steps = (rollouts.obs_MEHO.flatten(1, 2), rollouts.actions_MEHA.flatten(1, 2), weights_MN)
        return Shown(*(values.to(device, dtype) for values in steps))


def require_loss(loss: CloningLoss, spec: Spec) -> None:
    """Refuse squared errors of actions that are no vectors.

    Raises:
        ConfigError: with the loss to choose.
    """
    if spec.num_actions and loss == "mean_squared_error":
        raise ConfigError("discrete actions have no squared error: learner.loss=likelihood")


def cloning_loss(policy: Distribution, shown: Shown, loss: CloningLoss) -> Tensor:
    """Mean over a task's steps of |mode - a|^2 / 2, or of -log pi(a | s): shape (M,)."""
    if loss == "likelihood":
        return -(shown.weights_MN * policy.log_prob(shown.actions_MNA)).sum(1)
    errors_MN = (policy.mode - shown.actions_MNA).square().sum(-1)
    return 0.5 * (shown.weights_MN * errors_MN).sum(1)


class AdaptationStep(Protocol):
    """One step of the inner loop, as a function that autograd sees through."""

    def __call__(self, params_M: Params, tasks: slice) -> Params:
        """Adapted parameters of the tasks of a chunk."""
        ...


class CloningObjective:
    """-L at any theta, and its gradient.

    Args:
        policy: acts with parameters.
        steps: of the inner loop.
        query: what the adapted policies should do.
        loss: how far they are from it.
        theta: the meta-parameters at the start.
        chunks: tasks that are differentiated together.
        world: all processes; means over tasks are over theirs too.
        meta_batch: tasks of all processes.
    """

    def __init__(
        self,
        policy: Policy,
        steps: Sequence[AdaptationStep],
        query: Shown,
        loss: CloningLoss,
        theta: Params,
        chunks: Sequence[slice],
        world: World,
        meta_batch: int,
    ) -> None:
        self.policy, self.steps, self.query, self._loss = policy, steps, query, loss
        self._theta, self._chunks = theta, chunks
        self._world, self._meta_batch = world, meta_batch

    def gradient(self, theta: Params | None = None, clip: float | None = None) -> Tensor:
        """Gradient as a float64 vector; None for the theta at the start. Nothing is clipped."""
        at = self._theta if theta is None else theta

        def of_chunk(chunk: slice) -> Tensor:
            leaves = detach(tile(at, chunk.stop - chunk.start), requires_grad=True)
            with torch.enable_grad():
                total = -self._losses(leaves, chunk).sum()
                gradient = torch.autograd.grad(
                    total, [*leaves.values()], allow_unused=True, materialize_grads=True
                )
            return flatten_tasks(dict(zip(leaves, gradient, strict=True)))

        return self._mean(on_all_cores(of_chunk, self._chunks))

    def evaluate(self, theta: Params) -> tuple[float, float]:
        """-L at theta, and nothing of a divergence."""

        def of_chunk(chunk: slice) -> Tensor:
            start = detach(tile(theta, chunk.stop - chunk.start), requires_grad=True)
            with torch.enable_grad():
                return -self._losses(start, chunk).detach().unsqueeze(1)

        return float(self._mean(on_all_cores(of_chunk, self._chunks))), 0.0

    def _losses(self, params_M: Params, chunk: slice) -> Tensor:
        for step in self.steps:
            params_M = step(params_M, chunk)
        query = self.query.of_tasks(chunk)
        return cloning_loss(self.policy(params_M, query.obs_MNO), query, self._loss)

    def _mean(self, chunks_MP: Sequence[Tensor]) -> Tensor:
        return self._world.sum_over_tasks(torch.cat(list(chunks_MP))) / self._meta_batch


def cloning_update(outer: Adam, objective: CloningObjective, theta: Params) -> OuterResult:
    """One meta-update, whose metrics tell the loss in the place of a surrogate and a KL."""
    result = outer.update(objective, theta)
    metrics = dict(result.metrics)
    metrics.pop("train/kl")
    loss = -float(metrics.pop("train/surrogate"))
    return OuterResult(result.theta, {**metrics, "train/cloning_loss": loss})


def gradient_step(params_M: Params, losses_M: Tensor, size: float, first_order: bool) -> Params:
    """One gradient step down per-task losses, of all parameters that they depend on."""
    gradient = torch.autograd.grad(
        losses_M.sum(),
        [*params_M.values()],
        create_graph=not first_order,
        allow_unused=True,
        materialize_grads=True,
    )
    return {
        name: value - size * slope
        for (name, value), slope in zip(params_M.items(), gradient, strict=True)
    }
