"""Model-agnostic meta-learning (Finn et al. 2017, arXiv 1703.03400), and two close relatives.

MAML learns initial policy parameters from which a gradient step adapts to a task. The meta-gradient
goes through the adaptation, exactly, for any number of inner steps; `inner.first_order` drops the
second derivative (FOMAML), `inner.objective: dice` makes it the unbiased DiCE-MAML.

ANIL (Raghu et al. 2020, arXiv 1909.09157) adapts the last layer only. Meta-SGD (Li et al. 2017,
arXiv 1707.09835) learns the step sizes beside the parameters.
"""

from typing import Literal

import torch
from pydantic import Field

from metarl.learners.gradient.base import GradientBasedConfig, ThroughAdaptation
from metarl.learners.gradient.inner_loop import STEP_SIZE, InnerLoop
from metarl.learners.gradient.outer import OuterConfig
from metarl.optimization.trust_region import TRPOConfig
from metarl.params import Params
from metarl.policies.policy import CONTEXT, ContextPolicy, Policy, PolicyConfig, make_policy


class MAMLConfig(GradientBasedConfig):
    """MAML; `outer` is TRPO, PPO or plain policy gradient (adam)."""

    name: Literal["maml"] = "maml"
    outer: OuterConfig = Field(TRPOConfig(), discriminator="name")


class MAML(ThroughAdaptation):
    """See the module."""

    Config = MAMLConfig


class ANILConfig(MAMLConfig):
    """MAML that adapts the head only."""

    name: Literal["anil"] = "anil"  # type: ignore[assignment]


class ANIL(ThroughAdaptation):
    """Adapts the last layer and the standard deviation; the body is learned outside only."""

    Config = ANILConfig

    def _make_inner(self, policy: Policy) -> InnerLoop:
        self.policy = policy
        names = policy.init(torch.Generator())
        layers = {int(name[6:].split(".")[0]) for name in names if name.startswith("layer_")}
        last = f"layer_{max(layers)}."
        head = {name for name in names if name.startswith(last) or name == "log_std"}
        return InnerLoop(policy, self.config.inner, head.__contains__)


class MetaSGDConfig(MAMLConfig):
    """MAML with learned step sizes, started at the first of `inner.step_sizes`."""

    name: Literal["meta_sgd"] = "meta_sgd"  # type: ignore[assignment]
    granularity: Literal["parameter", "layer"] = "parameter"
    """One step size per parameter, or one per tensor."""


class MetaSGD(ThroughAdaptation):
    """Learns a step size for every parameter; negative ones are allowed, as in the paper."""

    Config = MetaSGDConfig

    def _initial(self, generator: torch.Generator) -> Params:
        params = self.policy.init(generator)
        size = self.config.inner.step_sizes[0]
        per_layer = self.config.granularity == "layer"
        for name, value in list(params.items()):
            shape = [1] * value.dim() if per_layer else value.shape
            params[f"{STEP_SIZE}{name}"] = torch.full(shape, size)
        return params


class CAVIAConfig(MAMLConfig):
    """MAML that adapts context parameters only."""

    name: Literal["cavia"] = "cavia"  # type: ignore[assignment]
    context_size: int = Field(5, ge=1)


class CAVIA(ThroughAdaptation):
    """Fast context adaptation (Zintgraf et al. 2019, arXiv 1810.03642).

    The policy sees a few context parameters beside the observation. They start at zero in every
    task and are all that the inner loop changes; the network is learned outside only.
    """

    Config = CAVIAConfig

    def _make_policy(self, config: PolicyConfig) -> Policy:
        spec = self.spec
        size = spec.obs_size + self.config.context_size
        return ContextPolicy(make_policy(size, spec.action_size, config, spec.num_actions))

    def _make_inner(self, policy: Policy) -> InnerLoop:
        self.policy = policy
        return InnerLoop(policy, self.config.inner, lambda name: name == CONTEXT)

    def _start(self, num_tasks: int) -> Params:
        shape = (num_tasks, self.config.context_size)
        context = torch.zeros(shape, device=self.device, dtype=self.dtype)
        return {**super()._start(num_tasks), CONTEXT: context}
