"""Trust region policy optimisation of the meta-parameters (Schulman et al. 2015, 1502.05477).

Maximise L(theta) subject to C(theta) <= max_kl: the step x = H^-1 g by conjugate gradient on
curvature products, scaled to sqrt(2 max_kl / x^T H x), shrunk until L improves and C holds.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from metarl.config_model import ConfigModel
from metarl.params import Params, flatten, unflatten


class TRPOConfig(ConfigModel):
    """The trust region step; defaults as in MAML and ProMP."""

    name: Literal["trpo"] = "trpo"
    """Trust region step."""
    max_kl: PositiveFloat = 0.01
    """Largest mean KL divergence of an update."""
    cg_iterations: int = Field(10, ge=1)
    """Iterations of conjugate gradients."""
    cg_damping: float = Field(1e-5, ge=0.0)
    """Added to the diagonal of the Fisher matrix."""
    backtrack_ratio: float = Field(0.8, gt=0.0, lt=1.0)
    """By which the step shrinks in the line search."""
    max_backtracks: int = Field(15, ge=1)
    """Tries of the line search; then nothing is changed."""
    fisher_states: PositiveInt = 10_000
    """Valid query states that the Fisher matrix is averaged over; at most all."""
    hessian_states: PositiveInt = 500
    """Valid support states *per task* for the inner step's second derivative; at most all.

    More of them improve the direction on a trained policy and take longer; no other number learns
    more than an eighth faster in the environments measured (docs/performance.md).
    """


class TrustRegionObjective(Protocol):
    """What the step needs to know of an objective."""

    def gradient(self) -> Tensor:
        """Gradient of L at the current parameters."""
        ...

    def fisher_product(self, vector: Tensor) -> Tensor:
        """Hessian of C at the current parameters, times a vector."""
        ...

    def evaluate(self, theta: Params) -> tuple[float, float]:
        """L and C at other parameters."""
        ...


class StepResult(NamedTuple):
    """New parameters (the old ones if the step was rejected), and how it went."""

    theta: Params
    rejected: str  # empty if accepted, else the reason
    gain: float
    kl: float
    backtracks: int
    gradient_norm: float


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], b: Tensor, iterations: int, tolerance: float = 1e-10
) -> tuple[Tensor, float]:
    """Solve A x = b for symmetric positive definite A given by products; exact after n steps.

    Stops early once the squared residual falls below `tolerance` times that of x = 0.

    Returns:
        x and x^T A x, which costs no further product: directions are conjugate.
    """
    x, residual = torch.zeros_like(b), b.clone()
    direction, squared = residual.clone(), residual.dot(residual)
    stop, quadratic = tolerance * squared, 0.0
    for _ in range(iterations):
        if squared <= stop:
            break
        image = product(direction)
        curvature = direction.dot(image)
        if curvature <= 0:
            break
        step = squared / curvature
        x = x + step * direction
        quadratic += float(step * squared)
        residual = residual - step * image
        previous, squared = squared, residual.dot(residual)
        direction = residual + (squared / previous) * direction
    return x, quadratic


def trust_region_step(
    objective: TrustRegionObjective, theta: Params, config: TRPOConfig
) -> StepResult:
    """One TRPO step from `theta`; a rejected step returns `theta` itself and says why."""
    gradient = objective.gradient()
    norm = float(gradient.norm())

    def rejected(reason: str) -> StepResult:
        return StepResult(theta, reason, 0.0, 0.0, 0, norm)

    if not torch.isfinite(gradient).all():
        return rejected("non-finite gradient")

    def damped_product(vector: Tensor) -> Tensor:
        return objective.fisher_product(vector) + config.cg_damping * vector

    direction, curvature = conjugate_gradient(damped_product, gradient, config.cg_iterations)
    if not torch.isfinite(direction).all() or not curvature > 0:
        return rejected("no curvature")
    full_step = direction * (2.0 * config.max_kl / curvature) ** 0.5
    return _line_search(objective, theta, full_step, norm, config)


def _line_search(
    objective: TrustRegionObjective, theta: Params, step: Tensor, norm: float, config: TRPOConfig
) -> StepResult:
    before, _ = objective.evaluate(theta)
    origin, reason = flatten(theta), ""
    for backtracks in range(config.max_backtracks):
        candidate = unflatten(origin + config.backtrack_ratio**backtracks * step, theta)
        value, kl = objective.evaluate(candidate)
        if not (value == value and kl == kl):
            reason = "non-finite surrogate"
        elif kl > config.max_kl:
            reason = "kl above limit"
        elif not value > before:
            reason = "no improvement"
        else:
            return StepResult(candidate, "", value - before, kl, backtracks, norm)
    return StepResult(theta, reason, 0.0, 0.0, config.max_backtracks, norm)
