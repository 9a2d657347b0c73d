"""Meta-SGD (Li et al. 2017, arXiv 1707.09835): the step sizes are learned beside the parameters."""

from collections.abc import Callable
from typing import Literal

import torch

from metarl.learners.base import Setting
from metarl.learners.gradient.inner_loop import STEP_SIZE, InnerLoopConfig, everything
from metarl.learners.gradient.through_adaptation import ThroughAdaptation, ThroughAdaptationConfig
from metarl.params import Params
from metarl.policies.policy import MLPPolicyConfig, Policy


class MetaSGDConfig(ThroughAdaptationConfig):
    """MAML with learned step sizes, started at the first of `inner.step_sizes`."""

    name: Literal["meta_sgd"] = "meta_sgd"
    inner: InnerLoopConfig = InnerLoopConfig()
    granularity: Literal["parameter", "layer"] = "parameter"
    """One step size per parameter, or one per tensor."""


class MetaSGD(ThroughAdaptation):
    """Learns a step size for every parameter; negative ones are allowed, as in the paper."""

    Config = MetaSGDConfig

    def __init__(self, config: MetaSGDConfig, policy: MLPPolicyConfig, setting: Setting) -> None:
        self._per_layer = config.granularity == "layer"
        super().__init__(config, policy, setting)

    def _adapts(self, policy: Policy) -> Callable[[str], bool]:
        return everything

    def _initial(self, generator: torch.Generator) -> Params:
        params = self.policy.init(generator)
        size = self.inner.config.step_size(0)
        sizes = {
            f"{STEP_SIZE}{name}": torch.full(
                [1] * value.dim() if self._per_layer else value.shape, size
            )
            for name, value in params.items()
        }
        return {**params, **sizes}
