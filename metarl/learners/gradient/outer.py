"""Outer optimisers: what turns a meta-objective into new meta-parameters.

Each has a config with a name; `make_outer` builds it. Shapes: none, everything is a vector.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, Protocol

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from metarl.config_model import ConfigModel
from metarl.learners.base import Metrics
from metarl.learners.gradient.meta_objective import MetaObjective
from metarl.optimization.optimizer_state import load_optimizer, optimizer_tensors
from metarl.optimization.trust_region import TRPOConfig, trust_region_step
from metarl.params import Params, flatten, unflatten


class FirstOrderConfig(ConfigModel):
    """What optimisers share that follow the meta-gradient by Adam."""

    learning_rate: PositiveFloat = 1e-3
    """Of Adam."""
    final_learning_rate: PositiveFloat | None = None
    """Linear decay to this over `decay_iterations`; null for a constant rate."""
    decay_iterations: PositiveInt = 1000
    """Iterations over which the rate goes to its final value."""
    max_gradient_norm: PositiveFloat | None = None
    """Longer meta-gradients are scaled down to it; null for none."""


class AdamConfig(FirstOrderConfig):
    """Plain policy gradient: one Adam step on the meta-gradient."""

    name: Literal["adam"] = "adam"
    """One step of Adam."""


class PPOConfig(FirstOrderConfig):
    """Several epochs of Adam on the clipped objective, adaptation made again in each."""

    name: Literal["ppo"] = "ppo"
    """Epochs of Adam on clipped ratios."""
    epochs: PositiveInt = 5
    """Steps per meta-update."""
    clip: float = Field(0.3, gt=0.0, lt=1.0)
    """Ratios count up to 1 plus or minus this."""


OuterConfig = TRPOConfig | AdamConfig | PPOConfig


class OuterResult(NamedTuple):
    """New meta-parameters and what there is to log."""

    theta: Params
    metrics: Metrics


class DifferentiableObjective(Protocol):
    """What Adam needs of an objective that is to be raised."""

    def gradient(self, theta: Params | None = None, clip: float | None = None) -> Tensor:
        """Its gradient as a float64 vector, at theta or where the rollouts were made."""
        ...

    def evaluate(self, theta: Params) -> tuple[float, float]:
        """Its value, and how far policies have moved."""
        ...


class OuterOptimizer(ABC):
    """Improves a meta-objective from theta_old.

    Attributes:
        query_states: query states that curvature products are averaged over; None for all.
        support_states: support states per task in the same products.
    """

    query_states: int | None = None
    support_states: int | None = None

    @abstractmethod
    def update(self, objective: MetaObjective, theta: Params) -> OuterResult:
        """One meta-update; parameters that would not be finite are never returned."""

    def state(self) -> Params:
        """Tensors that resuming needs."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Restore what `state` gave."""


class TRPO(OuterOptimizer):
    """A trust region step, see `optimization.trust_region`."""

    def __init__(self, config: TRPOConfig) -> None:
        self.config = config
        self.query_states, self.support_states = config.fisher_states, config.hessian_states

    def update(self, objective: MetaObjective, theta: Params) -> OuterResult:
        result = trust_region_step(objective, theta, self.config)
        metrics: Metrics = {
            "train/gradient_norm": result.gradient_norm,
            "train/surrogate_gain": result.gain,
            "train/kl": result.kl,
            "train/backtracks": float(result.backtracks),
            "train/step_accepted": float(not result.rejected),
            "train/rejected_because": result.rejected,
        }
        return OuterResult(result.theta, metrics)


class Adam(OuterOptimizer):
    """Epochs of Adam on the meta-gradient, in float64.

    Args:
        config: rates and limits.
        epochs: steps per meta-update; the adaptation is made again before each but the first.
        clip: clip range of the query ratios, or None.
        updates: meta-updates of an iteration, by which the rate decays.
    """

    def __init__(
        self,
        config: FirstOrderConfig,
        epochs: int = 1,
        clip: float | None = None,
        updates: int = 1,
    ) -> None:
        self.config, self._epochs, self._clip = config, epochs, clip
        self._updates_per_iteration = updates
        self._vector = torch.zeros(0, dtype=torch.float64)
        self._optimizer: torch.optim.Adam | None = None
        self._loaded: Params = {}
        self._updates = 0

    def update(self, objective: DifferentiableObjective, theta: Params) -> OuterResult:
        before, optimizer, new, norm = self.state(), self._prepared(theta), theta, 0.0
        for epoch in range(self._epochs):
            gradient = objective.gradient(None if epoch == 0 else new, self._clip)
            norm = float(gradient.norm())
            if not torch.isfinite(gradient).all():
                self.load_state(before)  # earlier epochs leave no trace in the moments either
                return OuterResult(theta, _metrics(norm, 0.0, 0.0, "non-finite gradient"))
            limit = self.config.max_gradient_norm
            if limit is not None and norm > limit:
                gradient = gradient * (limit / norm)
            self._vector.grad = gradient
            optimizer.step()
            new = unflatten(self._vector.clone(), theta)
        self._updates += 1
        value, kl = objective.evaluate(new)
        return OuterResult(new, _metrics(norm, value, kl, ""))

    def _prepared(self, theta: Params) -> torch.optim.Adam:
        """The optimiser, its vector at theta."""
        flat = flatten(theta)
        if self._optimizer is None:
            self._vector = torch.zeros_like(flat)
            self._optimizer = torch.optim.Adam([self._vector], maximize=True)
            load_optimizer(self._optimizer, self._loaded)
        self._vector.copy_(flat)
        self._optimizer.param_groups[0]["lr"] = self.rate()
        return self._optimizer

    def rate(self) -> float:
        """The learning rate of the next meta-update."""
        start, end = self.config.learning_rate, self.config.final_learning_rate
        if end is None:
            return start
        iteration = self._updates // self._updates_per_iteration
        share = min(1.0, iteration / self.config.decay_iterations)
        return start + share * (end - start)

    def state(self) -> Params:
        moments = self._loaded if self._optimizer is None else optimizer_tensors(self._optimizer)
        return {**moments, "iterations": torch.tensor([self._updates])}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._loaded = dict(state)
        self._updates = int(self._loaded.pop("iterations"))
        self._optimizer = None


def _metrics(norm: float, value: float, kl: float, reason: str) -> Metrics:
    return {
        "train/gradient_norm": norm,
        "train/surrogate": value,
        "train/kl": kl,
        "train/step_accepted": float(not reason),
        "train/rejected_because": reason,
    }


_OPTIMIZERS: dict[str, Callable[..., OuterOptimizer]] = {
    "trpo": TRPO,
    "adam": Adam,
    "ppo": lambda config: Adam(config, config.epochs, config.clip),
}


def make_outer(config: OuterConfig) -> OuterOptimizer:
    """The optimiser that a config describes."""
    return _OPTIMIZERS[config.name](config)
