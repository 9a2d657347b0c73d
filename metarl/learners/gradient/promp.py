"""ProMP: proximal meta-policy search (Rothfuss et al. 2019, arXiv 1810.06784, algorithm 1).

    maximise  mean_i [ L_clip(phi_i(theta)) - eta KL(pi_theta_old, pi_theta) ]

by several epochs of Adam; the adaptation phi_i(theta) is made again in each, with the likelihood
ratio pi_theta / pi_theta_old as inner objective (LVC). At theta_old the gradient is that of
LVC-MAML. The coefficient eta may adapt: doubled where the KL exceeds 1.5 times its target, halved
where it falls below the target / 1.5.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from metarl.interaction.rollouts import Rollouts
from metarl.learners.base import Iteration, Setting
from metarl.learners.gradient.base import AdaptedParameters
from metarl.learners.gradient.inner_loop import InnerLoopConfig, everything
from metarl.learners.gradient.meta_objective import Experience, MetaObjective
from metarl.learners.gradient.outer import OuterResult, PPOConfig
from metarl.learners.gradient.terms import SupportStep, SupportTerm, mean_kl
from metarl.learners.gradient.through_adaptation import ThroughAdaptation, ThroughAdaptationConfig
from metarl.params import Params
from metarl.policies.policy import MLPPolicyConfig, Policy


class ProMPConfig(ThroughAdaptationConfig):
    """ProMP; defaults of its authors' code."""

    name: Literal["promp"] = "promp"
    inner: InnerLoopConfig = InnerLoopConfig()
    outer: PPOConfig = PPOConfig()
    kl_coefficient: NonNegativeFloat = 5e-4
    """Weight of the inner KL penalty at the start."""
    adaptive_kl: bool = False
    """Whether the weight follows the KL divergence."""
    kl_target: PositiveFloat = 0.01
    """That the weight is adapted to."""


@dataclass(frozen=True)
class KLPenalty:
    """Minus `coefficient` times the KL from the policies that collected the support rollouts."""

    coefficient: float

    def __call__(self, step: SupportStep) -> Tensor:
        """Its value for every task: shape (M,)."""
        return -self.coefficient * mean_kl(step.sampler(), step.policy, step.samples)


class ProMP(ThroughAdaptation):
    """MAML with a trust region on the support rollouts' policies, by a penalty.

    Attributes:
        kl_coefficient: eta, as it is now.
    """

    Config = ProMPConfig

    def __init__(self, config: ProMPConfig, policy: MLPPolicyConfig, setting: Setting) -> None:
        super().__init__(config, policy, setting)
        self.kl_coefficient = config.kl_coefficient
        self._kl_target = config.kl_target if config.adaptive_kl else None

    def _adapts(self, policy: Policy) -> Callable[[str], bool]:
        return everything

    def _terms(
        self, experience: Experience, query: Rollouts, work: Iteration[AdaptedParameters]
    ) -> Sequence[SupportTerm]:
        return [KLPenalty(self.kl_coefficient)] if self.kl_coefficient else []

    def _after(self, objective: MetaObjective, result: OuterResult) -> None:
        kl = objective.support_kl(result.theta)
        result.metrics["train/support_kl"] = kl
        result.metrics["train/kl_coefficient"] = self.kl_coefficient
        if self._kl_target is not None:
            self.kl_coefficient = adapted_coefficient(self.kl_coefficient, kl, self._kl_target)

    def training_state(self) -> Params:
        coefficient = torch.tensor([self.kl_coefficient], dtype=torch.float64)
        return {**super().training_state(), "kl_coefficient": coefficient}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        rest = dict(state)
        self.kl_coefficient = float(rest.pop("kl_coefficient"))
        super().load_training_state(rest)


def adapted_coefficient(coefficient: float, kl: float, target: float) -> float:
    """Doubled where `kl` exceeds 1.5 targets, halved below target / 1.5, else as it is."""
    if kl > 1.5 * target:
        return 2.0 * coefficient
    return 0.5 * coefficient if kl < target / 1.5 else coefficient
