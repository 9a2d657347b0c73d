"""RL2: learning to learn in the memory of a recurrent policy.

Duan et al. 2016, arXiv 1611.02779; Wang et al. 2016, arXiv 1611.05763. PPO maximises the return of
whole trials, with backpropagation through time cut into pieces of `bptt_steps`.
"""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from metarl.errors import ConfigError
from metarl.interaction.threads import single_threaded
from metarl.learners.base import Iteration, Metrics, Setting
from metarl.learners.memory.base import Memory, MemoryConfig, MemoryLearner
from metarl.learners.memory.trial_ppo import TrialPPO, TrialPPOConfig
from metarl.params import Params
from metarl.policies.networks.recurrent import RecurrentPolicyConfig
from metarl.seeding import learning_generator


class RL2Config(TrialPPOConfig, MemoryConfig):
    """RL2 with PPO."""

    name: Literal["rl2"] = "rl2"


class RL2(MemoryLearner):
    """Remembers a task in a GRU or LSTM."""

    Config = RL2Config
    PolicyConfig = RecurrentPolicyConfig

    def __init__(self, config: RL2Config, policy: RecurrentPolicyConfig, setting: Setting) -> None:
        length = config.trial_episodes * setting.horizon
        if length % min(config.bptt_steps, length):
            raise ConfigError(
                f"learner.bptt_steps = {config.bptt_steps} does not divide the trial's "
                f"{config.trial_episodes} x {setting.horizon} = {length} steps"
            )
        super().__init__(config, policy, setting, policy.head(config.hidden_size, setting.spec))
        self.ppo = TrialPPO(self.network, config)

    @single_threaded()
    def iterate(self, work: Iteration[Memory]) -> Metrics:
        episodes = self.collect_trials(work)
        joined = self.joined([self.normalizer.rollouts(rollouts) for rollouts in episodes])
        generator = learning_generator(self.setting.seed, work.index)
        metrics = self.ppo.update(self.trial(joined), generator, work.world)
        self.learned(episodes, work)
        return metrics

    def training_state(self) -> Params:
        return self.ppo.state()

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        self.ppo.load_state(state)
