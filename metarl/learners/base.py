"""The interface of every meta-learner.

Sampler, trainer and evaluator know a learner only by this. Shapes: M tasks, E episodes per task,
O observation, A action.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from metarl.config_model import ConfigModel
from metarl.environments.config import EnvConfig
from metarl.interaction.rollouts import Rollouts
from metarl.params import Params
from metarl.policies.actors import ActionStep
from metarl.policies.policy import PolicyConfig

State = Any
Metrics = dict[str, float | str]


class LearnerConfig(ConfigModel):
    """Base of the learners' configs; `name` is the key in `learners.LEARNERS`."""

    name: str


class Spec(NamedTuple):
    """The environment and the amounts of experience that a learner is built for."""

    obs_size: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    episodes: int
    horizon: int
    num_actions: int = 0  # of a Discrete action space; 0 for real vectors

    @property
    def action_size(self) -> int:
        """A, the number of action dimensions (1, the index, for discrete actions)."""
        return len(self.action_low)

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that one action takes."""
        return self.num_actions or self.action_size


class TrainedOn(NamedTuple):
    """Where a learner comes from."""

    env: EnvConfig
    horizon: int
    checkpoint: str | None


class Collect(Protocol):
    """Gives rollouts on the tasks of an iteration, one episode per sub-environment."""

    def __call__(self, state: State) -> tuple[Rollouts, State]:
        """Run the learner from `state`; return the rollouts and the state after them."""
        ...


class MetaLearner(ABC):
    """Learns over tasks, and adapts to one from rollouts.

    Attributes:
        spec: what it was built for.
        trained_on: where it comes from, or None if it was built by hand.
        acts_on_rewards: whether its actions depend on the rewards of earlier ones.
        device: where its tensors live.
        dtype: of its parameters and of the rollouts it is given.
    """

    Config: ClassVar[type[LearnerConfig]]
    spec: Spec
    trained_on: TrainedOn | None = None
    acts_on_rewards: ClassVar[bool] = False
    device: torch.device
    dtype: torch.dtype

    def __init__(
        self,
        config: Any,
        policy_config: PolicyConfig,
        spec: Spec,
        seed: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Build with initial meta-parameters drawn from `seed`.

        Raises:
            ConfigError: if sizes do not fit together.
        """
        self.config, self.spec, self.device, self.dtype = config, spec, device, dtype

    # Acting and adapting

    @abstractmethod
    def begin(self, num_tasks: int, episodes: int) -> State:
        """The state before any experience of M new tasks: a pytree with leading axis M."""

    @abstractmethod
    def act(
        self,
        state: State,
        obs_MEO: np.ndarray,
        previous_actions_MEA: np.ndarray,
        previous_rewards_ME: np.ndarray,
        first_ME: np.ndarray,
        noise_MEA: np.ndarray | None,
    ) -> tuple[ActionStep, State]:
        """Choose actions; `noise_MEA` is standard normal, None asks for the most likely ones.

        `first_ME` is True in the first step of an episode; previous action and reward are zero
        then. Arrays have the learner's dtype.
        """

    @abstractmethod
    def adapt(self, state: State, rollouts: Rollouts) -> State:
        """The state after one adaptation step; neither `state` nor meta-parameters change."""

    # Meta-training

    @abstractmethod
    def iterate(self, collect: Collect, tasks: Mapping[str, np.ndarray]) -> Metrics:
        """One meta-update from rollouts that it asks `collect` for; returns metrics."""

    @property
    @abstractmethod
    def meta_parameters(self) -> Params:
        """What meta-training learns; all that acting and adapting depend on."""

    @abstractmethod
    def load_meta_parameters(self, params: Mapping[str, Tensor]) -> None:
        """Replace the meta-parameters by copies of `params`."""

    def training_state(self) -> Params:
        """Tensors that resuming needs beyond the meta-parameters, such as optimiser moments."""
        return {}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `training_state` gave."""
        assert not state, "this learner keeps no training state"


def phase_metrics(phases: Sequence[Rollouts]) -> Metrics:
    """Returns, success (where the environment reports it) and divergence of training's rollouts."""
    metrics: Metrics = {}
    for step, rollouts in enumerate(phases):
        metrics[f"train/return_step_{step}"] = float(rollouts.returns_ME.mean())
        if rollouts.success_ME is not None:
            metrics[f"train/success_step_{step}"] = float(rollouts.success_ME.double().mean())
    diverged = sum(int(rollouts.diverged_ME.sum()) for rollouts in phases)
    return {**metrics, "train/diverged": float(diverged)}
