"""The interface of every meta-learner.

Sampler, trainer and evaluator know a learner only by this. State is data; an actor is the machine
made from it. Shapes: M tasks, E episodes per task, P numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from metarl.config_model import ConfigModel
from metarl.environments.config import EnvConfig
from metarl.environments.fit import Spec
from metarl.errors import ConfigError
from metarl.interaction.demonstrations import Demonstrations
from metarl.interaction.rollouts import Rollouts
from metarl.params import Params, renamed
from metarl.policies.acting_module import ActingModule
from metarl.policies.actors import Actor
from metarl_envs.mirror import Mirror
from metarl_envs.tasks.batches import Tasks

Metrics = dict[str, float | str]
S = TypeVar("S")
T = TypeVar("T")
S_contra = TypeVar("S_contra", contravariant=True)


class LearnerConfig(ConfigModel):
    """Base of the learners' configs; `name` is the key in `learners.LEARNERS`."""

    name: str
    """Which learner."""

    @property
    def fewest_iterations(self) -> int:
        """Iterations below which training would leave out a phase."""
        return 1


class TrainedOn(NamedTuple):
    """Where a learner comes from.

    Attributes:
        env: of its training.
        horizon: longest episode, in steps.
        checkpoint: folder that it was read from, or None.
        tasks: that it was shown in training, where those were demonstrated and not drawn.
    """

    env: EnvConfig
    horizon: int
    checkpoint: str | None
    tasks: Tasks | None = None


@dataclass(frozen=True)
class Setting:
    """What a learner is built for.

    Attributes:
        spec: observations and actions.
        episodes: E in training; any number at test time.
        horizon: longest episode in training, in steps.
        seed: of initial parameters and of all the learner's own randomness.
        device: where its tensors live.
        dtype: of its parameters and of the rollouts it is given.
        num_tasks: tasks that training meets, by key from 0; None where each iteration's are new.
    """

    spec: Spec
    episodes: int
    horizon: int
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    num_tasks: int | None = None


class World(Protocol):
    """All processes that train together; see `experiment.world`."""

    @property
    def rank(self) -> int:
        """Of this process."""
        ...

    @property
    def size(self) -> int:
        """Number of processes."""
        ...

    def share(self, count: int) -> slice:
        """This process's part of so many tasks or other items."""
        ...

    def gather(self, values_MP: Tensor) -> Tensor:
        """The rows of all processes' tasks, in global task order."""
        ...

    def sum_over_tasks(self, values_MP: Tensor) -> Tensor:
        """The sum over the tasks of all processes, in global task order, in float64: shape (P,)."""
        ...

    def all(self, flag: bool) -> bool:
        """Whether the flag is set in every process."""
        ...

    def largest(self, *numbers: int) -> list[int]:
        """The largest of all processes' first, second, ... number."""
        ...

    def total(self, function: Callable[[T], Tensor], items: Sequence[T]) -> Tensor:
        """The sum of the function over items, a row of one shape for each, in float64.

        The items are the same in all processes; each process takes its share of them, on all its
        cores. Rows travel in their own precision, so give them in that of the parameters.
        """
        ...


class Collect(Protocol[S_contra]):
    """Gives rollouts on the tasks of an iteration."""

    def __call__(self, state: S_contra) -> Rollouts:
        """Run the actors of `state`, one episode per sub-environment."""
        ...


@dataclass(frozen=True)
class Iteration(Generic[S]):
    """What one meta-update has to work with.

    Attributes:
        index: of the iteration, counted from 0.
        tasks: this process's tasks, M of them.
        keys: their global keys. With `tasks: {kind: fixed}` a task keeps its key from iteration to
            iteration; fresh tasks are numbered within each.
        meta_batch: tasks of all processes.
        collect: gives rollouts.
        world: all processes.
        demonstrations: of these tasks, where the run has some.
        mirror: of the environment, where the learner needs it.
    """

    index: int
    tasks: Tasks
    keys: Sequence[int]
    meta_batch: int
    collect: Collect[S]
    world: World
    demonstrations: Demonstrations | None = None
    mirror: Mirror | None = None


class MetaLearner(ABC, Generic[S]):
    """Learns over tasks, and adapts to one from rollouts.

    A state is a pytree of tensors with leading axis M (dicts, dataclasses, tuples); it pickles.

    Attributes:
        Config: its config.
        PolicyConfig: the keys of `policy` that it uses.
        pools_episodes: whether an adaptation step learns from the E episodes of a task together;
            if not, every episode belongs to a trial of its own, which learns from itself alone.
        adapts_after_each_episode: whether an adaptation step is one episode, so that the next one
            acts on what it brought, unless a user says otherwise.
        needs_fixed_tasks: whether training has to meet the same tasks again, as replay does: with
            `tasks: {kind: fixed}`.
        is_told: whether it is told in training how each task is: of tasks that change in
            mid-episode, as they hold in each step.
        needs_mirror: whether training needs an environment that has a mirror image.
        needs_demonstrations: whether training learns from demonstrations of its tasks.
        adapts_to_demonstrations: whether `adapt` wants demonstrations in place of own rollouts.
        fewest_demonstrations: episodes per task that training needs at least.
        task_parts: parts of its meta-parameters, named by what stands before the first dot, that
            depend on what the numbers of a task mean.
        known_as: of other learners, by name: prefixes of its meta-parameters, and under which
            ones those learners have the same, for a `start_from`.
        acts_on_rewards: whether actions depend on the rewards of earlier ones.
        spec: observations and actions that it was built for.
        setting: all that it was built for.
        trained_on: where it comes from, or None if it was built by hand.
        device: where its tensors live.
        dtype: of its parameters and of the rollouts it is given.
    """

    Config: ClassVar[type[LearnerConfig]]
    PolicyConfig: ClassVar[type[ConfigModel]]
    pools_episodes: ClassVar[bool] = True
    acts_on_rewards: bool = False
    adapts_after_each_episode: ClassVar[bool] = False
    needs_fixed_tasks: ClassVar[bool] = False
    needs_demonstrations: ClassVar[bool] = False
    is_told: ClassVar[bool] = False
    needs_mirror: bool = False
    adapts_to_demonstrations: ClassVar[bool] = False
    fewest_demonstrations: int = 1
    task_parts: ClassVar[frozenset[str]] = frozenset()
    known_as: ClassVar[Mapping[str, Mapping[str, str]]] = MappingProxyType({})
    trained_on: TrainedOn | None = None

    def __init__(self, config: LearnerConfig, policy: ConfigModel, setting: Setting) -> None:
        """Build with initial meta-parameters drawn from the setting's seed.

        Args:
            config: an instance of `Config`.
            policy: an instance of `PolicyConfig`.
            setting: what it is built for.

        Raises:
            ConfigError: if sizes do not fit together.
        """
        self.setting, self.spec = setting, setting.spec
        self.device, self.dtype = setting.device, setting.dtype

    # Acting and adapting

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that an actor is given for each action."""
        return self.spec.noise_size

    @abstractmethod
    def begin(self, num_tasks: int, episodes: int) -> S:
        """The state before any experience of M new tasks, to be acted from in E episodes each."""

    @abstractmethod
    def actor(self, state: S) -> Actor[S]:
        """Acts from a state, which it does not change."""

    @abstractmethod
    def adapt(self, state: S, rollouts: Rollouts) -> S:
        """The state after one adaptation step.

        Depends on the state *before* the rollouts and on the rollouts alone, whoever collected
        them; neither `state` nor the meta-parameters change.
        """

    @property
    @abstractmethod
    def adapted_size(self) -> int:
        """Numbers that adaptation finds for a task: parameters, a latent, what a memory holds."""

    def acting_module(self, state: S) -> ActingModule:
        """Acting from the state of one task as a torch module, without noise, to be exported.

        Raises:
            ConfigError: if this learner has none.
        """
        raise ConfigError(f"{type(self).__name__} has no form that could be exported")

    # Meta-training

    def as_own(self, other: str, weights: Mapping[str, Tensor]) -> Params:
        """What a learner of another name learned, under the names and in the layout of this one."""
        return renamed(weights, self.known_as.get(other, {}))

    def require_fit(self) -> None:
        """Refuse, before training, what it is `trained_on` if it could never adapt there.

        Raises:
            UserError: with what does not fit.
        """

    @abstractmethod
    def iterate(self, work: Iteration[S]) -> Metrics:
        """One meta-update from the rollouts that it asks for; returns metrics of its own."""

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

    def buffers(self) -> Params:
        """Experience that resuming needs, such as replay; in the newest checkpoint only."""
        return {}

    def load_buffers(self, buffers: Mapping[str, Tensor]) -> None:
        """Restore what `buffers` gave."""
        assert not buffers, "this learner keeps no buffers"
