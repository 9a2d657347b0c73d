"""CAVIA: fast context adaptation (Zintgraf et al. 2019, arXiv 1810.03642).

The policy sees a few context parameters beside the observation. They start at zero in every task
and are all that the inner loop changes; the network is learned by the outer loop alone.
"""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field

from metarl.learners.base import Setting
from metarl.learners.gradient.inner_loop import InnerLoopConfig
from metarl.learners.gradient.through_adaptation import ThroughAdaptation, ThroughAdaptationConfig
from metarl.params import Params
from metarl.policies.policy import (
    CONTEXT,
    ContextPolicy,
    MLPPolicyConfig,
    Policy,
    make_policy,
)


class CAVIAConfig(ThroughAdaptationConfig):
    """MAML that adapts context parameters only."""

    name: Literal["cavia"] = "cavia"
    inner: InnerLoopConfig = InnerLoopConfig()
    context_size: int = Field(5, ge=1)
    """Adapted inputs beside the observation."""


class CAVIA(ThroughAdaptation):
    """Adapts the context."""

    Config = CAVIAConfig

    def __init__(self, config: CAVIAConfig, policy: MLPPolicyConfig, setting: Setting) -> None:
        self._context_size = config.context_size
        super().__init__(config, policy, setting)

    def _make_policy(self, config: MLPPolicyConfig) -> Policy:
        spec = self.spec
        size = spec.obs_size + self._context_size
        return ContextPolicy(make_policy(size, spec.action_size, config, spec.num_actions))

    def _adapts(self, policy: Policy) -> Callable[[str], bool]:
        return {CONTEXT}.__contains__

    def _start(self, num_tasks: int) -> Params:
        shape = (num_tasks, self._context_size)
        context = torch.zeros(shape, device=self.device, dtype=self.dtype)
        return {**super()._start(num_tasks), CONTEXT: context}
