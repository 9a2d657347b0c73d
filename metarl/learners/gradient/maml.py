"""Model-agnostic meta-learning (Finn et al. 2017, arXiv 1703.03400).

MAML learns initial policy parameters from which a gradient step adapts to a task. The meta-gradient
goes through the adaptation, exactly, for any number of inner steps; `inner.first_order` drops the
second derivative (FOMAML), `inner.objective: dice` makes it the unbiased DiCE-MAML.
"""

from collections.abc import Callable
from typing import Literal

from metarl.learners.gradient.inner_loop import InnerLoopConfig, everything
from metarl.learners.gradient.through_adaptation import ThroughAdaptation, ThroughAdaptationConfig
from metarl.policies.policy import Policy


class MAMLConfig(ThroughAdaptationConfig):
    """MAML; `outer` is TRPO, PPO or plain policy gradient (adam)."""

    name: Literal["maml"] = "maml"
    inner: InnerLoopConfig = InnerLoopConfig()


class MAML(ThroughAdaptation):
    """Adapts all parameters."""

    Config = MAMLConfig

    def _adapts(self, policy: Policy) -> Callable[[str], bool]:
        return everything
