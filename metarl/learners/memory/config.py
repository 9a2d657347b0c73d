"""The keys of learners whose memory is what they adapt."""

from typing import Literal

from pydantic import PositiveInt, field_validator, model_validator

from metarl.estimators.advantages import AdvantageConfig
from metarl.learners.base import Setting
from metarl.learners.clipped_ppo import ClippedPPOConfig
from metarl.policies.networks.history_core import HistoryCore
from metarl.policies.networks.memory_core import MemoryCore, RecurrentCore
from metarl.policies.networks.transformer import TransformerConfig, TransformerCore
from metarl.policies.normalization import NormalizationConfig

Memories = Literal["gru", "lstm", "transformer", "convolution"]
InputName = Literal["observation", "action", "reward"]


class MemoryConfig(ClippedPPOConfig):
    """Base of the configs of learners that adapt a memory."""

    memory: Memories = "gru"
    """What remembers the trial; a convolution, its last 48 steps."""
    hidden_size: PositiveInt = 64
    """Of a recurrent memory's state, a transformer's width, or the channels of a convolution."""
    transformer: TransformerConfig | None = None
    """Of `memory: transformer` alone, which attends over as many steps as a trial has here."""
    trial_episodes: PositiveInt = 2
    """Episodes of a trial in training; any number at test time."""
    advantages: AdvantageConfig = AdvantageConfig()
    normalization: NormalizationConfig = NormalizationConfig()
    training_reward: bool = False
    """Whether PPO raises `info["training_reward"]`; what is remembered never shows it."""

    @model_validator(mode="after")
    def _shape_of_a_transformer(self) -> "MemoryConfig":
        if self.transformer is not None and self.memory != "transformer":
            raise ValueError("transformer belongs to memory=transformer")
        shape = self.transformer or TransformerConfig()
        if self.memory == "transformer" and self.hidden_size % shape.heads:
            raise ValueError(
                f"hidden_size = {self.hidden_size} is no multiple of the {shape.heads} heads"
            )
        return self

    def sees(self, name: InputName) -> bool:
        """Whether the memory is told this of every step."""
        return True

    def core(self, setting: Setting) -> MemoryCore:
        """What remembers."""
        spec, size = setting.spec, self.hidden_size
        inputs = spec.obs_size + self.sees("reward") + 1
        if self.sees("action"):
            inputs += spec.num_actions or spec.action_size
        if self.memory == "convolution":
            return HistoryCore(inputs, size)
        if self.memory != "transformer":
            return RecurrentCore(self.memory, inputs, size)
        window = self.trial_episodes * setting.horizon
        return TransformerCore(self.transformer or TransformerConfig(), inputs, size, window)


class ChosenInputsConfig(MemoryConfig):
    """Base of the configs of learners that may do without the reward."""

    inputs: tuple[InputName, ...] = ("observation", "action", "reward")
    """What is remembered of every step: its observation, the action and reward before it.

    Without the reward a robot needs none to adapt.
    """

    @field_validator("inputs")
    @classmethod
    def _observes(cls, inputs: tuple[InputName, ...]) -> tuple[InputName, ...]:
        if "observation" not in inputs or len(set(inputs)) < len(inputs):
            raise ValueError(
                'inputs are "observation" and perhaps "action" and "reward", each once'
            )
        return inputs

    def sees(self, name: InputName) -> bool:
        return name in self.inputs
