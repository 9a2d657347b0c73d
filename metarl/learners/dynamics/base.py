"""What learners share that plan with a model of the dynamics which adapts at every step.

Nagabandi et al. 2019, arXiv 1803.11347, algorithm 1: meta-train a model so that, adapted to the
last K transitions, it predicts the next K,

    theta <- Adam on mean L(adapted(theta; last K); next K),

with windows drawn from all that was lived. Acting is model-predictive control with the adapted
model. Adaptation looks at observations and actions alone; the model learns the reward as one more
output, where the paper's is given. Plans look past the end of an episode: nothing tells the planner
of falls but the rewards around them. An actor that lives on into another episode has not seen the
last transition of the one before, which `adapt` has: no percept shows it.

Shapes: M tasks, E episodes, R = M E robots, K transitions, H steps ahead, O observation, A action,
W windows.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from metarl.config_model import ConfigModel
from metarl.errors import ConfigError
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.threads import on_all_cores, single_threaded, task_chunks
from metarl.interaction.trial_buffer import TrialBuffer
from metarl.learners.base import Iteration, LearnerConfig, MetaLearner, Metrics, Setting, World
from metarl.learners.clipped_ppo import steps_taken
from metarl.learners.dynamics.model import DynamicsModel, Transitions
from metarl.learners.dynamics.planner import Planner, PlannerConfig
from metarl.learners.dynamics.recent import Recent
from metarl.learners.dynamics.windows import drawn_windows, episodes_of, transitions
from metarl.learners.together import of_all
from metarl.optimization.optimizer_state import load_optimizer, optimizer_tensors
from metarl.params import Params, detach, flatten, sum_of_rows, unflatten, without_prefix
from metarl.policies.actors import ActionStep, Percept
from metarl.policies.arrays import to_array, to_tensor
from metarl.seeding import learning_generator, parameter_generator

_TRIALS = "trials"
_ROBOTS_TOGETHER, _SLICES = 4, 2  # planned for, and learned from, at once; bits depend on neither


class ModelBasedConfig(LearnerConfig):
    """Keys of learners that plan with a model."""

    window: PositiveInt = 16
    """K, the last transitions, adapted to, and the next ones, which training predicts."""
    learning_rate: PositiveFloat = 1e-3
    """Of Adam."""
    gradient_steps: PositiveInt = 500
    """Steps of Adam in an iteration."""
    batch_windows: PositiveInt = 64
    """Windows of each."""
    buffer_episodes: PositiveInt = 2000
    """Episodes that are kept, the newest ones."""
    max_gradient_norm: PositiveFloat = 10.0
    """Longer gradients are scaled down to it."""
    planner: PlannerConfig = PlannerConfig()


class ModelConfig(ConfigModel):
    """The model of the dynamics."""

    hidden_sizes: tuple[PositiveInt, ...] = (128, 128)
    """Of the tanh network."""


class PlanningActor:
    """Adapts its model and plans, in every step."""

    def __init__(self, learner: "ModelBased", state: Recent) -> None:
        self._learner, self._recent = learner, state

    def act(self, seen: Percept, noise_MEN: np.ndarray | None) -> ActionStep:
        learner, shape = self._learner, seen.first_ME.shape
        told = (seen.obs_MEO, seen.previous_actions_MEA, seen.first_ME)
        tensors = [to_tensor(values.copy(), learner.device) for values in told]
        recent = self._recent.spread(shape[1]).stepped(*tensors)
        seeds_R = np.zeros(shape, np.uint32).ravel()
        if noise_MEN is not None:  # a number of the robot's own stream, taken for a seed
            seeds_R = np.ascontiguousarray(noise_MEN[..., 0], np.float32).view(np.uint32).ravel()
        rows, chunks = recent.rows(), task_chunks(len(seeds_R), _ROBOTS_TOGETHER)

        def plan(chunk: slice) -> Tensor:
            return learner.planned([values[chunk] for values in rows], seeds_R[chunk])

        plan_MEHA = torch.cat(on_all_cores(plan, chunks)).unflatten(0, shape)
        self._recent = replace(recent, plan_MEHA=plan_MEHA)
        return ActionStep(to_array(learner.planner.actions(plan_MEHA[:, :, 0])))

    @property
    def state(self) -> Recent:
        return self._recent


class ModelBased(MetaLearner[Recent]):
    """Plans with a model that adapts at every step; how, a subclass says."""

    PolicyConfig = ModelConfig
    pools_episodes = False

    def __init__(self, config: ModelBasedConfig, policy: ModelConfig, setting: Setting) -> None:
        super().__init__(config, policy, setting)
        if setting.spec.num_actions:
            raise ConfigError(f"learner.name={config.name} plans actions that are vectors")
        self.config = config
        generator = parameter_generator(setting.seed)
        sizes = policy.hidden_sizes
        self.model = DynamicsModel(setting.spec, sizes, generator, setting.device, setting.dtype)
        of_update = self.of_update(generator)
        self.model.theta |= {n: v.to(self.device, self.dtype) for n, v in of_update.items()}
        self.planner = Planner(config.planner, self.model, setting.spec)
        self.buffer = TrialBuffer(config.buffer_episodes)
        self._vector = flatten(self.model.theta).requires_grad_()
        self._optimizer = torch.optim.Adam([self._vector], lr=config.learning_rate)

    # How the model adapts

    def of_update(self, generator: torch.Generator) -> Params:
        """Initial parameters that adaptation has beside the network's."""
        del generator
        return {}

    @abstractmethod
    def adapted(self, params_R: Params, past: Transitions, through: bool = False) -> Params:
        """Parameters of each robot's network after what was seen of it, rewards apart.

        Args:
            params_R: `model.theta`, a copy for each.
            past: the last transitions; without any a robot's network stays as it is.
            through: whether derivatives go through it.
        """

    # Acting and adapting

    @property
    def noise_size(self) -> int:
        return 1

    def begin(self, num_tasks: int, episodes: int) -> Recent:
        steps, ahead, spec = self.config.window, self.config.planner.horizon, self.spec
        obs_size, action_size = spec.obs_size, spec.action_size

        def zeros(*shape: int) -> Tensor:
            size = (num_tasks, episodes, *shape)
            return torch.zeros(size, dtype=self.dtype, device=self.device)

        return Recent(
            zeros(steps, obs_size),
            zeros(steps, action_size),
            zeros(steps, obs_size),
            zeros(steps),
            zeros(obs_size),
            zeros(ahead, action_size),
        )

    def actor(self, state: Recent) -> PlanningActor:
        return PlanningActor(self, state)

    def planned(self, recent: Sequence[Tensor], seeds_R: np.ndarray) -> Tensor:
        """Plans of some robots, whose fields of `Recent` are given as rows: shape (R, H, A)."""
        obs_RKO, actions_RKA, next_obs_RKO, valid_RK, now_RO, plan_RHA = recent
        steps = Transitions(
            obs_RKO, actions_RKA, next_obs_RKO, torch.zeros_like(valid_RK), valid_RK
        )
        with torch.no_grad():
            params_R = self.adapted(self.model.tiled(len(now_RO)), steps)
            return self.planner.plan(params_R, now_RO, plan_RHA, self.planner.draw(seeds_R))

    def adapt(self, state: Recent, rollouts: Rollouts) -> Recent:
        return state.after(rollouts)

    # Meta-training

    @single_threaded()
    def iterate(self, work: Iteration[Recent]) -> Metrics:
        state = self.begin(len(work.keys), self.setting.episodes)
        rollouts = of_all(work.collect(state), work.world)
        episodes = episodes_of(rollouts)
        self.model.take_in(sum_of_rows(self.model.sums_of(transitions(episodes))))
        self.buffer.add({name: values.transpose(0, 1) for name, values in episodes.items()})
        generator = learning_generator(self.setting.seed, work.index)
        losses, norms = list[float](), list[float]()
        size, count = self.config.window, self.config.batch_windows
        kept = without_prefix(self.buffer.tensors(_TRIALS), f"{_TRIALS}.")
        for _ in range(self.config.gradient_steps):
            past, future = drawn_windows(kept, size, count, generator)
            loss, norm = self._improve(past, future, work.world)
            losses.append(loss)
            norms.append(norm)
        return {**steps_taken(norms), "train/model_loss": losses[-1]}

    def _improve(self, past: Transitions, future: Transitions, world: World) -> tuple[float, float]:
        """One step of Adam; returns the loss and the gradient's norm."""
        count = len(past.valid_RK)

        def differentiate(rows: Tensor) -> Tensor:
            own, next_ = (Transitions(*(v[rows] for v in half)) for half in (past, future))
            return self.gradient(own, next_, count)

        every = torch.arange(count, device=past.valid_RK.device)
        summed = world.total(differentiate, every.tensor_split(min(_SLICES, count)))
        gradient, loss = summed[:-1], float(summed[-1])
        norm = float(gradient.norm())
        if np.isfinite(norm):
            limit = self.config.max_gradient_norm
            with torch.no_grad():  # float32 numbers are all that a checkpoint keeps
                self._vector.copy_(flatten(self.model.theta))
            self._vector.grad = gradient * (limit / norm) if norm > limit else gradient
            self._optimizer.step()
            self.model.theta = unflatten(self._vector.detach().clone(), self.model.theta)
        return loss, norm

    def gradient(self, past: Transitions, future: Transitions, count: int) -> Tensor:
        """Gradient of the share of some windows in the loss of `count`; behind it that share."""
        params_W = detach(self.model.tiled(len(past.valid_RK)), requires_grad=True)
        with torch.enable_grad():
            adapted = self.adapted(params_W, past, through=True)
            loss = self.model.losses(adapted, future, rewards=True).sum() / count
            slopes = torch.autograd.grad(loss, [*params_W.values()])
        flat = torch.cat([slope.double().sum(0).flatten() for slope in slopes])
        return torch.cat([flat, loss.detach().double().view(1)])

    # Parameters

    @property
    def meta_parameters(self) -> Params:
        return self.model.state()

    def load_meta_parameters(self, params: Mapping[str, Tensor]) -> None:
        self.model.load(params)

    def training_state(self) -> Params:
        return optimizer_tensors(self._optimizer)

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        load_optimizer(self._optimizer, state)

    def buffers(self) -> Params:
        return self.buffer.tensors(_TRIALS)

    def load_buffers(self, buffers: Mapping[str, Tensor]) -> None:
        obs, actions = self.spec.obs_size, self.spec.action_size
        sizes = {"obs": obs, "actions": actions, "next_obs": obs, "rewards": 1, "valid": 1}
        self.buffer.load(_TRIALS, buffers, sizes, self.device)
