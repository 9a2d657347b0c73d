"""Outer optimisers: what turns a meta-objective into new meta-parameters.

Each has a config with a name; `make_outer` builds it. Shapes: none, everything is a vector.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from metarl.config_model import ConfigModel
from metarl.learners.gradient.meta_objective import MetaObjective
from metarl.optimization.trust_region import TRPOConfig, trust_region_step
from metarl.params import Params, flatten, unflatten


class AdamConfig(ConfigModel):
    """Plain policy gradient: one Adam step on the meta-gradient."""

    name: Literal["adam"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    final_learning_rate: PositiveFloat | None = None
    """Linear decay to this over `decay_iterations`; null for a constant rate."""
    decay_iterations: PositiveInt = 1000
    max_gradient_norm: PositiveFloat | None = None


class PPOConfig(AdamConfig):
    """Several epochs of Adam on the clipped objective, adaptation made again in each."""

    name: Literal["ppo"] = "ppo"  # type: ignore[assignment]
    epochs: PositiveInt = 5
    clip: float = Field(0.3, gt=0.0, lt=1.0)


OuterConfig = TRPOConfig | AdamConfig | PPOConfig


class OuterResult(NamedTuple):
    """New meta-parameters and what there is to log."""

    theta: Params
    metrics: dict[str, float | str]


class OuterOptimizer(ABC):
    """Improves a meta-objective from theta_old."""

    @abstractmethod
    def update(self, objective: MetaObjective, theta: Params) -> OuterResult:
        """One meta-update; parameters that would not be finite are never returned."""

    def state(self) -> dict[str, Tensor]:
        """Tensors that resuming needs."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:  # noqa: B027
        """Restore what `state` gave."""


class TRPO(OuterOptimizer):
    """See `trpo`."""

    def __init__(self, config: TRPOConfig) -> None:
        self.config = config

    def update(self, objective: MetaObjective, theta: Params) -> OuterResult:
        result = trust_region_step(objective, theta, self.config)
        metrics: dict[str, float | str] = {
            "train/gradient_norm": result.gradient_norm,
            "train/surrogate_gain": result.gain,
            "train/kl": result.kl,
            "train/backtracks": float(result.backtracks),
            "train/step_accepted": float(not result.rejected),
            "train/rejected_because": result.rejected,
        }
        return OuterResult(result.theta, metrics)


class Adam(OuterOptimizer):
    """Adam on the meta-gradient (Kingma and Ba 2015), in float64; PPO with several epochs."""

    def __init__(self, config: AdamConfig) -> None:
        self.config = config
        self._epochs = config.epochs if isinstance(config, PPOConfig) else 1
        self._clip = config.clip if isinstance(config, PPOConfig) else None
        self._first = self._second = torch.zeros(0, dtype=torch.float64)
        self._steps = 0
        self._iterations = 0

    def update(self, objective: MetaObjective, theta: Params) -> OuterResult:
        new, norm = theta, 0.0
        for epoch in range(self._epochs):
            gradient = objective.gradient(None if epoch == 0 else new, self._clip)
            norm = float(gradient.norm())
            if not torch.isfinite(gradient).all():
                reason = "non-finite gradient"
                return OuterResult(theta, _adam_metrics(norm, 0.0, 0.0, reason))
            limit = self.config.max_gradient_norm
            if limit is not None and norm > limit:
                gradient = gradient * (limit / norm)
            new = unflatten(flatten(new) + self._step(gradient), theta)
        self._iterations += 1
        value, kl = objective.evaluate(new)
        return OuterResult(new, _adam_metrics(norm, value, kl, ""))

    def _step(self, gradient: Tensor) -> Tensor:
        if self._first.shape != gradient.shape:
            self._first = torch.zeros_like(gradient)
            self._second = torch.zeros_like(gradient)
        self._steps += 1
        self._first = 0.9 * self._first + 0.1 * gradient
        self._second = 0.999 * self._second + 0.001 * gradient.square()
        first = self._first / (1.0 - 0.9**self._steps)
        second = self._second / (1.0 - 0.999**self._steps)
        return self._rate() * first / (second.sqrt() + 1e-8)

    def _rate(self) -> float:
        start, end = self.config.learning_rate, self.config.final_learning_rate
        if end is None:
            return start
        share = min(1.0, self._iterations / self.config.decay_iterations)
        return start + share * (end - start)

    def state(self) -> dict[str, Tensor]:
        counts = torch.tensor([self._steps, self._iterations])
        return {"first": self._first, "second": self._second, "counts": counts}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self._first, self._second = state["first"], state["second"]
        self._steps, self._iterations = (int(count) for count in state["counts"])


def _adam_metrics(norm: float, value: float, kl: float, reason: str) -> dict[str, float | str]:
    return {
        "train/gradient_norm": norm,
        "train/surrogate": value,
        "train/kl": kl,
        "train/step_accepted": float(not reason),
        "train/rejected_because": reason,
    }


def make_outer(config: Any) -> OuterOptimizer:
    """The optimiser that a config describes."""
    return TRPO(config) if isinstance(config, TRPOConfig) else Adam(config)
