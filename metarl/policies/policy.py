"""Policies: stateless functions of (params, obs), for all tasks in one call.

Shapes: M tasks, N states per task, O observation, A action, I and J layer sizes.
"""

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from metarl.config_model import ConfigModel
from metarl.errors import ConfigError
from metarl.params import Params
from metarl.policies.actors import ActionStep, Chooser, GaussianTanhChooser, PolicyChooser
from metarl.policies.arrays import to_array
from metarl.policies.distributions import Categorical, DiagonalGaussian, Distribution
from metarl.policies.networks.tanh_mlp import StackedMLP

CONTEXT = "context"  # name of a task's context parameters


class ActionNoiseConfig(ConfigModel):
    """What all Gaussian policies share: a standard deviation that no observation changes."""

    init_std: PositiveFloat = 1.0
    """Standard deviation of actions at the start."""
    min_std: PositiveFloat = 1e-6
    """Least standard deviation."""


class MLPPolicyConfig(ActionNoiseConfig):
    """The Gaussian policy: a tanh network for the mean."""

    hidden_sizes: tuple[PositiveInt, ...] = (64, 64)
    """Of the tanh network."""
    output_scale: float = Field(1.0, ge=0.0)
    """Factor on the initial weights of the last layer."""


class Network(Protocol):
    """A function from observations to means, with parameters that lead with M.

    Attributes:
        head: names of the last layer's parameters.
    """

    head: frozenset[str]

    def init(self, generator: torch.Generator) -> Params:
        """Initial parameters, without the task axis."""
        ...

    def __call__(self, params: Mapping[str, Tensor], obs_MNO: Tensor) -> Tensor:
        """Outputs, shape (M, N, A)."""
        ...


class ModuleNetwork:
    """Any `nn.Module` from observations to means, called through `torch.func`.

    Args:
        module: the module.
        head: the name of the submodule that is its last layer, such as "2" of a `Sequential`; only
            learners that adapt the head alone ask for it.

    Raises:
        ConfigError: if the module has no such submodule.
    """

    def __init__(self, module: nn.Module, head: str | None = None) -> None:
        names = [name for name, _ in module.named_parameters()]
        self.module = module
        self.head = frozenset(n for n in names if head is not None and n.startswith(f"{head}."))
        if head is not None and not self.head:
            raise ConfigError(
                f"the module has no submodule {head!r} with parameters; it has: {', '.join(names)}"
            )

    def init(self, generator: torch.Generator) -> Params:
        """The module's own parameters, as it was built; `generator` is not used."""
        return {name: value.detach().clone() for name, value in self.module.named_parameters()}

    def __call__(self, params: Mapping[str, Tensor], obs_MNO: Tensor) -> Tensor:
        def call(task_params: dict[str, Tensor], obs_NO: Tensor) -> Tensor:
            return torch.func.functional_call(self.module, task_params, (obs_NO,))

        return torch.func.vmap(call)(dict(params), obs_MNO)


class GaussianPolicy:
    """pi(a|s) = N(network(s), exp(log_std)^2), log_std a parameter like the others."""

    def __init__(self, network: Network, action_size: int, config: MLPPolicyConfig) -> None:
        self.network, self.action_size = network, action_size
        # the standard deviation belongs to the output
        self.head = network.head | {"log_std"} if network.head else network.head
        self._init_log_std = math.log(config.init_std)
        self._min_log_std = math.log(config.min_std)

    def init(self, generator: torch.Generator) -> Params:
        """Initial parameters, without the task axis."""
        log_std = torch.full((self.action_size,), self._init_log_std)
        return {**self.network.init(generator), "log_std": log_std}

    def __call__(self, params: Mapping[str, Tensor], obs_MNO: Tensor) -> DiagonalGaussian:
        """The action distributions at all states of all tasks."""
        network_params = {name: value for name, value in params.items() if name != "log_std"}
        log_std_M1A = self.floored(params["log_std"]).unsqueeze(1)
        return DiagonalGaussian(self.network(network_params, obs_MNO), log_std_M1A)

    def chooser(self, params_M: Mapping[str, Tensor]) -> Chooser:
        """Chooses with these parameters."""
        if not isinstance(self.network, StackedMLP):
            return PolicyChooser(self, params_M)
        log_std_MA = self.floored(params_M["log_std"])
        return GaussianTanhChooser(self.network.layers(params_M), log_std_MA)

    def floored(self, log_std: Tensor) -> Tensor:
        """`log_std`, but not below that of `min_std`."""
        return log_std.clamp(min=self._min_log_std)


class CategoricalPolicy:
    """pi(a|s) = softmax(network(s)), for Discrete action spaces."""

    def __init__(self, network: Network) -> None:
        self.network, self.head = network, network.head

    def init(self, generator: torch.Generator) -> Params:
        """Initial parameters, without the task axis."""
        return self.network.init(generator)

    def __call__(self, params: Mapping[str, Tensor], obs_MNO: Tensor) -> Categorical:
        """The action distributions at all states of all tasks."""
        return Categorical(self.network(params, obs_MNO))

    def chooser(self, params_M: Mapping[str, Tensor]) -> Chooser:
        """Chooses with these parameters."""
        return PolicyChooser(self, params_M)


class ContextPolicy:
    """A policy that sees a task's context parameters beside the observation (CAVIA).

    Args:
        policy: a policy over observation and context, joined.
    """

    def __init__(self, policy: "Policy") -> None:
        self._policy, self.head = policy, policy.head

    def init(self, generator: torch.Generator) -> Params:
        """Initial parameters, without the context, which starts at zero in every task."""
        return self._policy.init(generator)

    def __call__(self, params: Mapping[str, Tensor], obs_MNO: Tensor) -> Distribution:
        """The action distributions at all states of all tasks."""
        context = params[CONTEXT].unsqueeze(1)
        context = context.expand(*obs_MNO.shape[:2], context.shape[-1])
        rest = {name: value for name, value in params.items() if name != CONTEXT}
        return self._policy(rest, torch.cat([obs_MNO, context], dim=-1))

    def chooser(self, params_M: Mapping[str, Tensor]) -> Chooser:
        """Chooses with these parameters."""
        inner = self._policy.chooser({n: v for n, v in params_M.items() if n != CONTEXT})
        context_M1C = to_array(params_M[CONTEXT].unsqueeze(1))

        def choose(obs_MEO: np.ndarray, noise_MEA: np.ndarray | None) -> ActionStep:
            context = np.repeat(context_M1C, obs_MEO.shape[1], axis=1)
            return inner(np.concatenate([obs_MEO, context], axis=-1), noise_MEA)

        return choose


class Policy(Protocol):
    """A stateless function of (params, obs).

    Attributes:
        head: names of the parameters of the output; empty where the network names none.
    """

    head: frozenset[str]

    def init(self, generator: torch.Generator) -> Params:
        """Initial parameters, without the task axis."""
        ...

    def __call__(self, params: Mapping[str, Tensor], obs_MNO: Tensor) -> Distribution:
        """The action distributions at all states of all tasks."""
        ...

    def chooser(self, params_M: Mapping[str, Tensor]) -> Chooser:
        """Chooses with these parameters; later changes of them may or may not be seen."""
        ...


def make_policy(
    obs_size: int, action_size: int, config: MLPPolicyConfig, num_actions: int = 0
) -> Policy:
    """The policy that a config describes; categorical if there are `num_actions`."""
    sizes = (obs_size, *config.hidden_sizes, num_actions or action_size)
    network = StackedMLP(sizes, config.output_scale)
    if num_actions:
        return CategoricalPolicy(network)
    return GaussianPolicy(network, action_size, config)
