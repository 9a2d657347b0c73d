"""The keys of PEARL."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from metarl.config_model import ConfigModel
from metarl.learners.base import LearnerConfig


class PEARLConfig(LearnerConfig):
    """PEARL."""

    name: Literal["pearl"] = "pearl"
    latent_size: PositiveInt = 5
    """Numbers of the task's latent variable."""
    encoder_sizes: tuple[PositiveInt, ...] = (200, 200, 200)
    """Hidden layers of the encoder."""
    next_obs_in_context: bool = False
    """Whether the encoder sees where a transition led; dynamics tasks need it."""
    kl_weight: NonNegativeFloat = 0.1
    """Of the divergence to the prior."""
    kl_reduction: Literal["mean", "reference"] = "mean"
    """Over tasks: a mean, or the sum of the reference implementation."""
    posterior_collections: int = Field(1, ge=0)
    """Times that a task's episodes are collected anew from the posterior, beside the first time."""
    posterior_in_context: bool = False
    """Whether gradient steps infer from those episodes too, or from the first ones alone."""
    gradient_steps: PositiveInt = 200
    """Per iteration; over its environment steps, the replay ratio."""
    gradient_tasks: PositiveInt = 16
    """Tasks of a gradient step, of all that replay holds."""
    batch_size: PositiveInt = 256
    """Transitions per task and gradient step."""
    context_size: PositiveInt = 100
    """Transitions per task from which a gradient step infers."""
    replay_size: PositiveInt = 10_000
    """Transitions kept per task."""
    training_reward: bool = False
    """Whether actor and critics learn from `info["training_reward"]`; the belief never does."""
    discount: float = Field(0.99, gt=0.0, lt=1.0)
    """Per step."""
    reward_scale: PositiveFloat = 5.0
    """The inverse temperature of soft actor-critic."""
    learning_rate: PositiveFloat = 3e-4
    """Of Adam, for all networks."""
    target_rate: float = Field(0.005, gt=0.0, le=1.0)
    """By which the target critics follow."""

    @model_validator(mode="after")
    def _replay_holds_a_batch(self) -> "PEARLConfig":
        if self.replay_size < max(self.batch_size, self.context_size):
            raise ValueError(
                f"replay_size = {self.replay_size} must hold batch_size = {self.batch_size} and "
                f"context_size = {self.context_size} transitions"
            )
        return self


class PEARLPolicyConfig(ConfigModel):
    """Policy and critics."""

    hidden_sizes: tuple[PositiveInt, ...] = (300, 300, 300)
    """Of actor and critics."""
