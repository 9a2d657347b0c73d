"""Learning from a teacher that is told the task, in two phases.

In the first `teacher_iterations`, PPO trains a teacher pi(o, mu(e)) that is told the task's numbers
e in training. Afterwards the student acts, who knows only a memory of its own observations and
actions, and learns from what the teacher would have done or known there. At test time only the
student acts: it needs neither the task nor a reward, and adapts with every step.

Shapes: M tasks, E episodes, T steps of an episode, N = M E, P numbers of a task, L latent, O
observation.
"""

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from metarl.errors import ConfigError
from metarl.interaction.rollouts import TOLD, Rollouts
from metarl.interaction.threads import single_threaded
from metarl.learners.base import Iteration, Metrics, Setting, World
from metarl.learners.clipped_ppo import (
    SLICES,
    ClippedPPO,
    clipped_step,
    minibatches,
    steps_taken,
)
from metarl.learners.memory.base import MemoryLearner, time_first
from metarl.learners.memory.state import Memory
from metarl.learners.mirroring import mirrored_too, with_images
from metarl.learners.privileged.config import PrivilegedConfig
from metarl.learners.privileged.told_tasks import ToldTasks, numbers_of
from metarl.optimization.optimizer_state import load_optimizer, optimizer_tensors
from metarl.params import (
    Params,
    load_parameters,
    one_row,
    parameters_of,
    prefixed,
    without_prefix,
)
from metarl.policies.actors import ActionStep, Actor, Percept
from metarl.policies.arrays import of_each, to_array, to_tensor, whole_rows
from metarl.policies.distributions import Distribution
from metarl.policies.networks.belief_head import BeliefPolicyConfig
from metarl.policies.networks.heads import Head
from metarl.policies.networks.latent_head import LatentHead
from metarl.policies.networks.relu_mlp import ArrayMLP, relu_mlp
from metarl.seeding import learning_generator, parameter_generator

_TOLD = "told"  # the part of a memory that stands for a latent that the actor is told
_ENCODER, _TEACHER, _PPO, _STUDENT = "encoder.", "teacher.", "ppo.", "student."
_LAST_BOUND = 0.1  # of the encoder's last layer


class TeacherPPO(ClippedPPO):
    """PPO of the policy and the encoder together; each step is a piece of its own.

    Args:
        learner: whose they are.
        config: see there.
    """

    def __init__(self, learner: "PrivilegedLearner", config: PrivilegedConfig) -> None:
        trained = nn.ModuleDict({"encoder": learner.encoder, "policy": learner.teacher})
        if hasattr(learner.network, "log_std"):
            trained.register_parameter("log_std", learner.network.log_std)
        super().__init__(trained, config)
        self._learner = learner

    def distribution(self, data: Mapping[str, Tensor]) -> Distribution:
        outputs = self._learner.teacher_outputs(data["told"], data["obs"])
        return self._learner.network.distribution(outputs)


class ToldActor:
    """Acts on the latent of a task that it is told, in its state or anew in every step."""

    def __init__(self, learner: "PrivilegedLearner", state: Memory) -> None:
        self._learner, self._state = learner, state
        self._encoder = ArrayMLP(learner.encoder)
        self._policy, self._choose = learner.teacher.on_arrays(), learner.network.choice()

    def act(self, seen: Percept, noise_MEN: np.ndarray | None) -> ActionStep:
        obs_MEO = self._learner.normalizer.normalize_obs(seen.obs_MEO)
        if seen.told_MEP is None:
            latents = to_array(self._state.spread(obs_MEO.shape[1]).parts[_TOLD].flatten(0, 1))
        else:
            latents = self._latents(seen.told_MEP)
        outputs_MEJ = of_each(lambda rows: self._policy(whole_rows(latents), rows), obs_MEO)
        return self._choose(outputs_MEJ, noise_MEN)

    def _latents(self, told_MEP: np.ndarray) -> np.ndarray:
        """What the encoder makes of tasks as they hold now: shape (M E, L)."""
        learner = self._learner
        scaled = learner.told.scaled(to_tensor(told_MEP, learner.device), learner.dtype)
        latents_MEL = of_each(lambda rows: np.tanh(self._encoder(rows)), to_array(scaled))
        return latents_MEL.reshape(-1, latents_MEL.shape[-1])

    @property
    def state(self) -> Memory:
        return self._state


class PrivilegedLearner(MemoryLearner):
    """A teacher that is told the task, and a student that remembers."""

    PolicyConfig = BeliefPolicyConfig
    is_told = True
    task_parts = frozenset({"encoder", "told"})

    def __init__(
        self, config: PrivilegedConfig, policy: BeliefPolicyConfig, setting: Setting
    ) -> None:
        if not setting.spec.task_size:
            raise ConfigError(f"learner.name={config.name} is told tasks, and here there are none")
        core, spec = config.core(setting), setting.spec
        own = policy.head(config.latent_size, spec)
        head = LatentHead(core.output_size, config.latent_size, own)
        super().__init__(config, policy, setting, core, head)
        self.config, self.head = config, head
        self.needs_mirror = config.mirror
        generator = parameter_generator(setting.seed)
        sizes = (spec.task_size, *config.encoder_sizes, config.latent_size)
        encoder = relu_mlp(sizes, _LAST_BOUND, generator)
        self.encoder = encoder.to(setting.device, setting.dtype)
        self.teacher = self._make_teacher(policy, generator)
        self.told = ToldTasks(spec.task_size, setting.device)
        self.ppo = TeacherPPO(self, config)
        self._student = torch.nn.ModuleDict(self._trained_by_student())
        rate = config.student.learning_rate
        self._optimizer = torch.optim.Adam(self._student.parameters(), lr=rate)

    @abstractmethod
    def _make_teacher(self, policy: BeliefPolicyConfig, generator: torch.Generator) -> Head:
        """The policy of the teacher: (latent, observation) -> outputs."""

    @abstractmethod
    def _trained_by_student(self) -> dict[str, nn.Module]:
        """What the second phase trains."""

    @abstractmethod
    def student_errors(self, data: Mapping[str, Tensor]) -> Tensor:
        """How far the student is from the teacher, of each step: shape (T, N).

        Args:
            data: "inputs" of the memory (T, N, F), "obs" (T, N, O), "told" (T, N, P).
        """

    def student_parameters(self) -> list[nn.Parameter]:
        """What the second phase trains."""
        return list(self._student.parameters())

    def latents(self, told: Tensor) -> Tensor:
        """What the encoder makes of a task's scaled numbers, within -1 and 1: shape (..., L)."""
        return torch.tanh(self.encoder(told))

    def teacher_outputs(self, told: Tensor, obs: Tensor) -> Tensor:
        """Of the policy that is told the task."""
        outputs: Tensor = self.teacher(self.latents(told), obs)
        return outputs

    # Acting

    def actor(self, state: Memory) -> Actor[Memory]:
        return ToldActor(self, state) if _TOLD in state.parts else super().actor(state)

    def told_state(self, tasks_MP: Tensor, episodes: int) -> Memory:
        """The state from which the teacher acts, told these tasks, in E episodes each."""
        with torch.no_grad():
            latents_ML = self.latents(self.told.scaled(tasks_MP, self.dtype))
        return Memory({_TOLD: latents_ML.unsqueeze(1).expand(-1, episodes, -1)})

    def adapt(self, state: Memory, rollouts: Rollouts) -> Memory:
        return state if _TOLD in state.parts else super().adapt(state, rollouts)

    # Meta-training

    @single_threaded()
    def iterate(self, work: Iteration[Memory]) -> Metrics:
        world = work.world
        all_MP = world.gather(numbers_of(work.tasks, self.device))
        met_MP = with_images(all_MP, work.mirror and work.mirror.task)
        generator = learning_generator(self.setting.seed, work.index)
        if work.index >= self.config.teacher_iterations:
            return self._teach(work, met_MP, generator)
        self.told.take_in(met_MP)
        # of all processes' tasks: a network's last bits depend on the number of rows beside
        state = self.told_state(all_MP, self.setting.episodes)
        own = world.share(len(all_MP))
        state = Memory({name: part[own] for name, part in state.parts.items()})
        told_MP = self.told.scaled(met_MP, self.dtype)
        episodes, data = self._lived(work, state, met_MP)
        steps = {name: values.flatten(0, 1).unsqueeze(0) for name, values in data.items()}
        del steps["inputs"]
        metrics = self.ppo.improve(steps, generator, world)
        self.learned([episodes])
        with torch.no_grad():
            spread = self.latents(told_MP).std(0, correction=0)
        return {
            **metrics,
            "train/latent_std": float(spread.mean()),
            "train/least_latent_std": float(spread.min()),
        }

    def _lived(
        self, work: Iteration[Memory], state: Memory, met_MP: Tensor
    ) -> tuple[Rollouts, dict[str, Tensor]]:
        """Episodes of all processes' tasks, and what is learned from them: shapes (T, N, ...)."""
        (lived,) = self.collect_trials(work, state)
        episodes = mirrored_too(lived, work.mirror)
        told = self.told.scaled(episodes.extras.get(TOLD, met_MP[:, None, None]), self.dtype)
        told_MEHP = told.expand(-1, *episodes.valid_MEH.shape[1:], -1)
        joined = self.joined([self.normalizer.rollouts(episodes)], {TOLD: [told_MEHP]})
        data = self.trial(joined)
        data["obs"] = data["inputs"][..., : self.spec.obs_size]
        data["told"] = time_first(joined.extras[TOLD])
        return episodes, data

    def _teach(
        self, work: Iteration[Memory], tasks_MP: Tensor, generator: torch.Generator
    ) -> Metrics:
        """The student acts, and learns from the teacher; what is normalised stays as it is."""
        state = self.begin(len(work.keys), self.setting.episodes)
        _, data = self._lived(work, state, tasks_MP)
        config, norms, errors = self.config.student, list[float](), list[float]()
        count = data["valid"].shape[1]
        for rows in minibatches(count, config.epochs, config.minibatches, generator):
            summed = self._student_gradient(data, rows.to(self.device), work.world)
            limit = config.max_gradient_norm
            norms.append(clipped_step(self._student, self._optimizer, summed[:-1], limit))
            errors.append(float(summed[-1]))
        self._weights = object()
        return {**steps_taken(norms), "train/student_error": errors[-1]}

    def _student_gradient(self, data: dict[str, Tensor], rows: Tensor, world: World) -> Tensor:
        """Gradient of the mean error over the steps of some episodes, and behind it the error."""
        total = float(data["valid"].index_select(1, rows).sum().clamp(min=1.0))

        def differentiate(part: Tensor) -> Tensor:
            own = {name: values.index_select(1, part) for name, values in data.items()}
            valid = own["valid"].squeeze(-1)
            error = (self.student_errors(own) * valid).sum() / total
            return one_row(torch.autograd.grad(error, list(self._student.parameters())), error)

        return world.total(differentiate, rows.tensor_split(min(SLICES, len(rows))))

    # Parameters

    def _beside(self) -> dict[str, nn.Module]:
        """Modules beside the network, by the prefix of their parameters."""
        return {_ENCODER: self.encoder}

    @property
    def meta_parameters(self) -> Params:
        beside = {prefix: parameters_of(module) for prefix, module in self._beside().items()}
        return {**super().meta_parameters, **prefixed(beside), **self.told.state()}

    def load_meta_parameters(self, params: Mapping[str, Tensor]) -> None:
        super().load_meta_parameters(self.told.load(params))
        for prefix, module in self._beside().items():
            load_parameters(module, without_prefix(params, prefix))

    def training_state(self) -> Params:
        student = optimizer_tensors(self._optimizer)
        return prefixed({_PPO: self.ppo.state(), _STUDENT: student})

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        self.ppo.load_state(without_prefix(state, _PPO))
        load_optimizer(self._optimizer, without_prefix(state, _STUDENT))
