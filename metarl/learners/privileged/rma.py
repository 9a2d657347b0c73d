"""RMA: rapid motor adaptation.

Kumar et al. 2021, arXiv 2107.04034. Phase 1: an encoder z = mu(e) of the task's numbers and a
policy pi(o, z) are trained jointly by PPO. Phase 2: phi, a network on the last second of
observations and actions, learns to give z by regression, on rollouts in which pi acts on phi's own
estimates, from the first one on. Deployed are pi and phi.

Unlike the paper: advantages from the linear baseline of the other learners, fitted per task; the
action before is seen by phi alone, unless the observation holds it; z and its estimate are bounded
by tanh, as in Qi et al. 2022 (arXiv 2210.04887).
Shapes: T steps, N episodes.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from metarl.learners.privileged.base import PrivilegedLearner
from metarl.learners.privileged.config import PrivilegedConfig
from metarl.policies.networks.belief_head import BeliefPolicyConfig
from metarl.policies.networks.heads import Head


class RMAConfig(PrivilegedConfig):
    """RMA."""

    name: Literal["rma"] = "rma"


class RMA(PrivilegedLearner):
    """The student estimates what the teacher's encoder makes of the task."""

    Config = RMAConfig
    known_as = MappingProxyType({"distillation": {"head.policy.": "teacher."}})

    @property
    def adapted_size(self) -> int:
        return self.config.latent_size

    def _make_teacher(self, policy: BeliefPolicyConfig, generator: torch.Generator) -> Head:
        return self.head.policy

    def _trained_by_student(self) -> dict[str, nn.Module]:
        return {"memory": self.network.memory, "to_latent": self.head.to_latent}

    def student_errors(self, data: Mapping[str, Tensor]) -> Tensor:
        estimates = self.head.latent(self.network.core.whole(data["inputs"]))
        with torch.no_grad():
            latents = self.latents(data["told"])
        return (estimates - latents).square().sum(-1)
