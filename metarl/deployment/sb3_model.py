"""An adapted policy as a model of stable-baselines3, which trains it on.

Shapes: M = 1 task, I and J layer sizes.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from metarl.adapted_policy import AdaptedPolicy
from metarl.environments.fit import require_fit
from metarl.errors import ConfigError
from metarl.learners.gradient.base import AdaptedParameters, GradientBasedLearner
from metarl.policies.networks.tanh_mlp import StackedMLP
from metarl.policies.policy import CategoricalPolicy, GaussianPolicy

if TYPE_CHECKING:
    from stable_baselines3 import PPO
    from stable_baselines3.common.type_aliases import GymEnv


_FORM = "policy_kwargs"


def to_sb3(policy: AdaptedPolicy, env: "GymEnv", **options: object) -> "PPO":
    """A PPO model that acts as the policy does and goes on learning from its weights.

    Its value function starts anew.

    Args:
        policy: adapted by a gradient-based learner.
        env: where it goes on, an environment or a `VecEnv` (see `deployment.sb3_vec_env`).
        **options: further arguments of `stable_baselines3.PPO`, but not `policy_kwargs`.

    Raises:
        ConfigError: if stable-baselines3 has no policy of that form.
        EnvironmentFitError: if the environment's spaces are not those of training.
    """
    from stable_baselines3 import PPO

    layers, log_std = _weights(policy)
    if _FORM in options:
        raise ConfigError(f"{_FORM} is the form of the adapted policy: leave it out")
    require_fit("the environment", env.observation_space, env.action_space, policy.learner.spec)
    hidden = [int(weight.shape[0]) for weight, _ in layers[:-1]]
    model = PPO(
        "MlpPolicy",
        env,
        policy_kwargs={
            "net_arch": {"pi": hidden, "vf": hidden},
            "activation_fn": nn.Tanh,
            "ortho_init": False,
        },
        **{"device": "cpu", **options},  # type: ignore[arg-type]
    )
    modules = [*model.policy.mlp_extractor.policy_net, model.policy.action_net]
    own = [module for module in modules if isinstance(module, nn.Linear)]
    shapes = [tuple(layer.weight.shape) for layer in own]
    wanted = [tuple(weight.shape) for weight, _ in layers]
    if shapes != wanted:
        raise ConfigError(f"the environment needs layers {shapes}, the policy has {wanted}")
    with torch.no_grad():
        for layer, (weight, bias) in zip(own, layers, strict=True):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        if log_std is not None:
            model.policy.log_std.copy_(log_std)
    return model


def _weights(policy: AdaptedPolicy) -> tuple[list[tuple[Tensor, Tensor]], Tensor | None]:
    """Weights (J, I), as `nn.Linear` has them, biases (J,), and a Gaussian's deviation (A,)."""
    learner, state = policy.learner, policy.state
    if not (
        isinstance(learner, GradientBasedLearner)
        and isinstance(state, AdaptedParameters)
        and isinstance(learner.policy, GaussianPolicy | CategoricalPolicy)
        and not learner.normalizer.observations
    ):
        raise ConfigError(
            "stable-baselines3 has plain networks on observations as they are: the policies of "
            "maml and its kin, without normalization.observations"
        )
    acting = learner.policy
    network = acting.network
    if not isinstance(network, StackedMLP):
        raise ConfigError("the policy's network is a module of its own, not one of layers")
    params = {name: value.detach().cpu() for name, value in state.params_M.items()}
    layers = [(weight[0].T, bias[0]) for weight, bias in network.layers(params)]
    log_std = acting.floored(params["log_std"])[0] if isinstance(acting, GaussianPolicy) else None
    return layers, log_std
