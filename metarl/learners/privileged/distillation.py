"""Distillation: a student with a memory imitates a teacher that is told the task.

The student acts and the teacher says what it would have done (DAgger, Ross et al. 2011, arXiv
1011.0686), as for legged robots in Lee et al. 2020 (arXiv 2010.11251) and rsl_rl. Unlike in RMA the
student has a policy of its own, and only its actions are compared.
Shapes: T steps, N episodes.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from metarl.errors import ConfigError
from metarl.learners.base import Setting
from metarl.learners.privileged.base import PrivilegedLearner
from metarl.learners.privileged.config import PrivilegedConfig
from metarl.policies.networks.belief_head import BeliefPolicyConfig
from metarl.policies.networks.heads import Head

_TEACHER = "teacher."


class DistillationConfig(PrivilegedConfig):
    """Distillation of a teacher that is told the task."""

    name: Literal["distillation"] = "distillation"


class Distillation(PrivilegedLearner):
    """The student does what the teacher would do."""

    Config = DistillationConfig
    known_as = MappingProxyType({key: {_TEACHER: "head.policy."} for key in ("rma", "sysid")})

    def __init__(
        self, config: PrivilegedConfig, policy: BeliefPolicyConfig, setting: Setting
    ) -> None:
        if setting.spec.num_actions:
            raise ConfigError("learner.name=distillation compares actions that are vectors")
        super().__init__(config, policy, setting)

    def _make_teacher(self, policy: BeliefPolicyConfig, generator: torch.Generator) -> Head:
        head = policy.head(self.config.latent_size, self.spec)
        head.to(self.device, self.dtype)
        head.initialise(generator)
        return head

    def _trained_by_student(self) -> dict[str, nn.Module]:
        return {"memory": self.network.memory, "head": self.head}

    def student_errors(self, data: Mapping[str, Tensor]) -> Tensor:
        with torch.no_grad():
            shown = self.teacher_outputs(data["told"], data["obs"])
        done = self.head(self.network.core.whole(data["inputs"]), data["obs"])
        return (done - shown).square().sum(-1)

    def _beside(self) -> dict[str, nn.Module]:
        return {**super()._beside(), _TEACHER: self.teacher}
