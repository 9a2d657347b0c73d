"""RL2: learning to learn in the memory of a policy.

Duan et al. 2016, arXiv 1611.02779; Wang et al. 2016, arXiv 1611.05763. PPO maximises the return of
whole trials, with backpropagation through time cut into pieces of `bptt_steps`; a transformer's
trials are whole (as in Melo 2022, arXiv 2206.06614, whose network is another).
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import model_validator
from torch import Tensor

from metarl.errors import ConfigError
from metarl.interaction.threads import single_threaded
from metarl.learners.base import Iteration, Metrics, Setting
from metarl.learners.memory.base import MemoryLearner
from metarl.learners.memory.config import ChosenInputsConfig
from metarl.learners.memory.state import Memory
from metarl.learners.memory.trial_ppo import TrialPPO, TrialPPOConfig
from metarl.params import Params
from metarl.policies.networks.memory_network import MemoryPolicyConfig
from metarl.seeding import learning_generator

_BPTT_STEPS = 100
_WHOLE_TRIALS = ("transformer", "convolution")  # memories without backpropagation through steps


class RL2Config(TrialPPOConfig, ChosenInputsConfig):
    """RL2 with PPO."""

    name: Literal["rl2"] = "rl2"

    @model_validator(mode="after")
    def _trials_are_whole(self) -> "RL2Config":
        if self.memory in _WHOLE_TRIALS and self.bptt_steps is not None:
            raise ValueError("bptt_steps belongs to memory=gru and memory=lstm")
        return self

    def steps_of_bptt(self, horizon: int) -> int | None:
        """Length of the pieces of trials, or None for whole trials.

        Raises:
            ConfigError: if trials are no multiple of it.
        """
        if self.memory in _WHOLE_TRIALS:
            return None
        length, steps = self.trial_episodes * horizon, self.bptt_steps or _BPTT_STEPS
        if length % min(steps, length):
            raise ConfigError(
                f"learner.bptt_steps = {steps} does not divide the trial's "
                f"{self.trial_episodes} x {horizon} = {length} steps"
            )
        return steps


class RL2(MemoryLearner):
    """Remembers a task in a GRU, LSTM, transformer or convolution."""

    Config = RL2Config
    PolicyConfig = MemoryPolicyConfig

    def __init__(self, config: RL2Config, policy: MemoryPolicyConfig, setting: Setting) -> None:
        core = config.core(setting)
        head = policy.head(core.output_size, setting.spec)
        super().__init__(config, policy, setting, core, head)
        self.ppo = TrialPPO(self.network, config, config.steps_of_bptt(setting.horizon))

    @single_threaded()
    def iterate(self, work: Iteration[Memory]) -> Metrics:
        episodes = self.collect_trials(work)
        joined = self.joined([self.normalizer.rollouts(rollouts) for rollouts in episodes])
        generator = learning_generator(self.setting.seed, work.index)
        metrics = self.ppo.update(self.trial(joined), generator, work.world)
        self.learned(episodes)
        return metrics

    def training_state(self) -> Params:
        return self.ppo.state()

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        self.ppo.load_state(state)
