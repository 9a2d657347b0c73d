"""ANIL: almost no inner loop (Raghu et al. 2020, arXiv 1909.09157).

MAML that adapts the last layer only; the body is learned by the outer loop alone.
"""

from collections.abc import Callable
from typing import Literal

from metarl.errors import ConfigError
from metarl.learners.gradient.inner_loop import InnerLoopConfig
from metarl.learners.gradient.through_adaptation import ThroughAdaptation, ThroughAdaptationConfig
from metarl.policies.policy import Policy


class ANILConfig(ThroughAdaptationConfig):
    """MAML that adapts the head only."""

    name: Literal["anil"] = "anil"
    inner: InnerLoopConfig = InnerLoopConfig()


class ANIL(ThroughAdaptation):
    """Adapts the last layer and the standard deviation.

    Raises:
        ConfigError: if the policy's network does not name its head.
    """

    Config = ANILConfig

    def _adapts(self, policy: Policy) -> Callable[[str], bool]:
        if not policy.head:
            raise ConfigError(
                "anil adapts the policy's head, and this network names none: "
                "build it as ModuleNetwork(module, head=...)"
            )
        return policy.head.__contains__
