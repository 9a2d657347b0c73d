"""PPO: epochs of Adam steps on minibatches of what was sampled.

Schulman et al. 2017, arXiv 1707.06347, eq. 7. Shapes: T steps of a piece, N pieces.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from metarl.estimators.objectives import clipped_gains
from metarl.learners.base import LearnerConfig, Metrics, World
from metarl.optimization.optimizer_state import load_optimizer, optimizer_tensors
from metarl.params import Params, one_row, unflatten
from metarl.policies.distributions import Distribution

# Parts of a minibatch that are differentiated at once: the steps of a recurrent network are too
# small for more than one thread. Fixed, so that results do not depend on the number of threads
SLICES = 2


class ClippedPPOConfig(LearnerConfig):
    """Base of the configs of learners that PPO trains."""

    epochs: PositiveInt = 5
    """Passes over the rollouts."""
    minibatches: PositiveInt = 4
    """Of each pass."""
    clip: float = Field(0.2, gt=0.0, lt=1.0)
    """Ratios count up to 1 plus or minus this."""
    learning_rate: PositiveFloat = 1e-3
    """Of Adam."""
    max_gradient_norm: PositiveFloat = 1.0
    """Longer gradients are scaled down to it."""
    entropy_bonus: NonNegativeFloat = 0.0
    """Weight of the entropy."""


class ClippedPPO(ABC):
    """Improves a policy on what it has sampled.

    Args:
        module: what is trained.
        config: see there.
    """

    def __init__(self, module: nn.Module, config: ClippedPPOConfig) -> None:
        self.module, self.config = module, config
        self._optimizer = torch.optim.Adam(module.parameters(), lr=config.learning_rate)

    @abstractmethod
    def distribution(self, data: Mapping[str, Tensor]) -> Distribution:
        """The action distributions of all steps: shape (T, N)."""

    def improve(self, data: dict[str, Tensor], generator: torch.Generator, world: World) -> Metrics:
        """Several epochs of Adam steps on minibatches of pieces.

        Args:
            data: what `distribution` needs and "actions", and with a last axis of length one
                "log_probs", "advantages" and "valid" (0 or 1): shapes (T, N, ...).
            generator: orders the minibatches.
            world: whose processes share the work; `data` is the same in all of them.
        """
        norms, kls = [], []
        count = data["valid"].shape[1]
        for rows in minibatches(count, self.config.epochs, self.config.minibatches, generator):
            norm, kl = self.minibatch(data, rows.to(data["valid"].device), world)
            norms.append(norm)
            kls.append(kl)
        return {**steps_taken(norms), "train/kl": kls[-1]}

    def minibatch(self, data: dict[str, Tensor], rows: Tensor, world: World) -> tuple[float, float]:
        """One Adam step; returns the gradient's norm and the mean KL to the sampling policy.

        None where no step is valid: Adam would go on by its momentum.
        """
        total = float(data["valid"].index_select(1, rows).sum())
        if not total:
            return 0.0, 0.0

        def differentiate(part: Tensor) -> Tensor:
            return self.gradient({n: v.index_select(1, part) for n, v in data.items()}, total)

        summed = world.total(differentiate, rows.tensor_split(min(SLICES, len(rows))))
        norm = clipped_step(
            self.module, self._optimizer, summed[:-1], self.config.max_gradient_norm
        )
        return norm, float(summed[-1])

    def gradient(self, data: dict[str, Tensor], total: float) -> Tensor:
        """Gradient of the loss of some pieces, and behind it their share of the KL, as one row.

        `total` is the number of steps of all pieces of the minibatch.
        """
        distribution = self.distribution(data)
        valid, advantages = data["valid"].squeeze(-1), data["advantages"].squeeze(-1)
        log_ratios = distribution.log_prob(data["actions"]) - data["log_probs"].squeeze(-1)
        log_ratios = log_ratios.masked_fill(valid == 0, 0.0)
        ratios = log_ratios.exp()
        gain = clipped_gains(ratios, advantages, self.config.clip)
        gain = gain + self.config.entropy_bonus * distribution.entropy()
        loss = -(gain * valid).sum() / total
        gradient = torch.autograd.grad(loss, list(self.module.parameters()))
        return one_row(gradient, ((ratios - 1.0 - log_ratios) * valid).sum() / total)

    def state(self) -> Params:
        """Tensors that resuming needs."""
        return optimizer_tensors(self._optimizer)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` gave."""
        load_optimizer(self._optimizer, state)


def minibatches(
    count: int, epochs: int, parts: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """The indices of each minibatch, over epochs that each take all of `count` in another order."""
    for _ in range(epochs):
        order = torch.randperm(count, generator=generator, device="cpu")
        yield from order.tensor_split(min(parts, count))


def steps_taken(norms: Sequence[float]) -> Metrics:
    """Metrics of gradient steps by their norms; those that are not finite were skipped."""
    finite = np.isfinite(norms)
    return {
        "train/gradient_norm": float(np.mean(np.asarray(norms)[finite])) if finite.any() else 0,
        "train/skipped_updates": float((~finite).sum()),
        "train/rejected_because": "" if finite.any() else "non-finite gradient",
    }


def clipped_step(
    module: nn.Module, optimizer: torch.optim.Optimizer, gradient: Tensor, limit: float
) -> float:
    """A step along a flat gradient, cut to norm `limit`; none if it is not finite.

    Returns:
        The gradient's norm before the cut.
    """
    parameters = dict(module.named_parameters())
    for name, value in unflatten(gradient, parameters).items():
        parameters[name].grad = value
    norm = float(nn.utils.clip_grad_norm_(list(parameters.values()), limit))
    if np.isfinite(norm):
        optimizer.step()
    return norm


def with_steps(metrics: Metrics, steps: Sequence[Metrics], norm: str) -> Metrics:
    """Metrics of PPO and of the steps of what is trained beside it, skipped ones counted.

    Args:
        metrics: of PPO.
        steps: metrics of each step; the last one's are kept.
        norm: the key of their gradient's norm, by which a step was skipped.
    """
    skipped = sum(not np.isfinite(float(step[norm])) for step in steps)
    before = float(metrics["train/skipped_updates"])
    reason = metrics["train/rejected_because"]
    if skipped == len(steps):
        reason = reason or "non-finite gradient of the encoder"
    return {
        **metrics,
        **steps[-1],
        "train/skipped_updates": before + skipped,
        "train/rejected_because": reason,
    }
