"""ProMP: proximal meta-policy search (Rothfuss et al. 2019, arXiv 1810.06784, algorithm 1).

    maximise  mean_i [ L_clip(phi_i(theta)) - eta KL(pi_theta_old, pi_theta) ]

by several epochs of Adam; the adaptation phi_i(theta) is made again in each, with the likelihood
ratio pi_theta / pi_theta_old as inner objective (LVC). At theta_old the gradient is that of
LVC-MAML. The coefficient eta may adapt: doubled where the KL exceeds 1.5 times its target, halved
where it falls below the target / 1.5.
"""

from typing import Any, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from metarl.learners.gradient.base import Experience, GradientBasedConfig, ThroughAdaptation
from metarl.learners.gradient.meta_objective import LocalTerms, MetaObjective
from metarl.learners.gradient.outer import OuterResult, PPOConfig
from metarl.params import Params


class ProMPConfig(GradientBasedConfig):
    """ProMP; defaults of its authors' code."""

    name: Literal["promp"] = "promp"
    outer: PPOConfig = PPOConfig()
    kl_coefficient: NonNegativeFloat = 5e-4
    adaptive_kl: bool = False
    kl_target: PositiveFloat = 0.01


class ProMP(ThroughAdaptation):
    """See the module."""

    Config = ProMPConfig

    def __init__(self, config: ProMPConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.kl_coefficient = config.kl_coefficient

    def _terms(self, experience: Experience) -> LocalTerms:
        return LocalTerms(kl_coefficient=self.kl_coefficient)

    def _after(self, objective: MetaObjective, result: OuterResult) -> None:
        kl = objective.support_kl(result.theta)
        result.metrics["train/support_kl"] = kl
        result.metrics["train/kl_coefficient"] = self.kl_coefficient
        if self.config.adaptive_kl:
            self.kl_coefficient = adapted_coefficient(
                self.kl_coefficient, kl, self.config.kl_target
            )

    def training_state(self) -> Params:
        coefficient = torch.tensor([self.kl_coefficient], dtype=torch.float64)
        return {**super().training_state(), "kl_coefficient": coefficient}

    def load_training_state(self, state: Any) -> None:
        rest: dict[str, Tensor] = dict(state)
        self.kl_coefficient = float(rest.pop("kl_coefficient"))
        super().load_training_state(rest)


def adapted_coefficient(coefficient: float, kl: float, target: float) -> float:
    """Doubled where `kl` exceeds 1.5 targets, halved below target / 1.5, else as it is."""
    if kl > 1.5 * target:
        return 2.0 * coefficient
    return 0.5 * coefficient if kl < target / 1.5 else coefficient
