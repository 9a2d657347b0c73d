"""HalfCheetah tasks: run at a hidden velocity, or in a hidden direction.

Body, physics, and initial states are those of Gymnasium's `HalfCheetah-v5`, to the bit.
Definitions as in PEARL (Rakelly et al. 2019, arXiv 1903.08254, environments half_cheetah_vel and
half_cheetah_dir): 5 simulator steps of 0.01 s per control step, 200 control steps, control cost
0.05, and an observation of 20 numbers that ends with the torso's position.
"""

from abc import abstractmethod
from typing import Any

import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.mujoco_env import MujocoTaskEnv
from metarl_envs.task_distributions import ListTasks, TaskDistribution, UniformTasks
from metarl_envs.tasks import Tasks

_RESET_NOISE = 0.1  # rad and m, half-width of the joint noise; also the velocity noise's std


class _HalfCheetah(MujocoTaskEnv):
    """The robot; a subclass turns the forward velocity into a reward."""

    def __init__(
        self,
        num_envs: int,
        *,
        torso_position: bool,
        ctrl_cost_weight: float,
        **kwargs: Any,
    ) -> None:
        self._torso_position = torso_position
        self._ctrl_cost_weight = ctrl_cost_weight
        super().__init__(
            num_envs,
            xml_file="half_cheetah.xml",
            observation_size=20 if torso_position else 17,
            **kwargs,
        )
        self._torso = self.batch.body("torso").xpos if torso_position else None

    def _initial_state(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        offset = generator.uniform(-_RESET_NOISE, _RESET_NOISE, self.model.nq)
        return self.model.qpos0 + offset, _RESET_NOISE * generator.standard_normal(self.model.nv)

    def _observe(self) -> np.ndarray:
        parts = [self.qpos[:, 1:], self.qvel]
        if self._torso is not None:
            parts.append(self._torso)
        return np.concatenate(parts, axis=1)

    def _outcome(self, before: np.ndarray, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        velocity = (self.qpos[:, 0] - before) / self.dt
        cost = self._ctrl_cost_weight * np.square(control).sum(axis=1)
        return self._velocity_reward(velocity) - cost, np.zeros(self.num_envs, bool)

    @abstractmethod
    def _velocity_reward(self, velocity: np.ndarray) -> np.ndarray:
        """Reward for the forward velocity in m/s, without control cost."""


class HalfCheetahVel(_HalfCheetah):
    """Run at a hidden target velocity: r = -|v - v*| - 0.05 sum(a^2), v = dx/dt.

    Tasks: `{"target_velocity": v*}` in m/s. Splits: `train` and `test` interleave over
    `velocity_range`; `extrapolation` is the range above it, half as wide. With
    `task_list="pearl"`, `train` and `test` are PEARL's fixed 100 and 30 velocities.

    Papers differ, and returns do not compare across: U[0,3] in PEARL, ProMP, VariBAD; U[0,2] in
    MAML and garage; MAML's own simulator step is 0.01 s (`frame_skip=1`), AMAGO's horizon 1000.

    Args:
        num_envs: number of simulations.
        velocity_range: lowest and highest target velocity, m/s.
        task_list: None for the continuous range, "pearl" for PEARL's fixed lists.
        torso_position: append the torso's position (lagging one simulator step, as in PEARL).
        ctrl_cost_weight: weight of sum(a^2), a in actuator units.
        frame_skip: simulator steps (0.01 s) per control step.
        action_scale: see `MujocoTaskEnv`; 10 in MAML, ProMP and garage, 1 in PEARL.
        **kwargs: `max_episode_steps`, `timestep`, `num_threads` of `MujocoTaskEnv`.
    """

    task_space = spaces.Dict({"target_velocity": spaces.Box(-10.0, 10.0, (), np.float64)})
    nominal_task = {"target_velocity": 1.0}

    def __init__(
        self,
        num_envs: int = 1,
        *,
        velocity_range: tuple[float, float] = (0.0, 3.0),
        task_list: str | None = None,
        torso_position: bool = True,
        ctrl_cost_weight: float = 0.05,
        frame_skip: int = 5,
        action_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        if task_list not in (None, "pearl"):
            raise EnvironmentConfigError(f"task_list must be null or 'pearl', got {task_list!r}")
        low, high = velocity_range
        if not -10 <= low < high <= 10:
            raise EnvironmentConfigError(
                f"velocity_range must increase within [-10, 10], got {tuple(velocity_range)}"
            )
        self._range, self._task_list = (float(low), float(high)), task_list
        super().__init__(
            num_envs,
            torso_position=torso_position,
            ctrl_cost_weight=ctrl_cost_weight,
            frame_skip=frame_skip,
            action_scale=action_scale,
            **kwargs,
        )
        self._target = self.tasks["target_velocity"].copy()

    def _distributions(self) -> dict[str, TaskDistribution]:
        key, (low, high) = "target_velocity", self._range
        top = min(10.0, high + 0.5 * (high - low))
        distributions: dict[str, TaskDistribution] = {
            "train": UniformTasks({key: low}, {key: high}, part="train"),
            "test": UniformTasks({key: low}, {key: high}, part="held_out"),
        }
        if top > high:
            outside = UniformTasks({key: np.nextafter(high, top)}, {key: top})
            distributions["extrapolation"] = outside
        if self._task_list == "pearl":
            velocities = np.random.RandomState(1337).uniform(0.0, 3.0, size=130)
            distributions["train"] = ListTasks({key: velocities[:100]})
            distributions["test"] = ListTasks({key: velocities[100:]})
        return distributions

    def _apply_tasks(self, tasks: Tasks, rows: np.ndarray) -> None:
        self._target[rows] = tasks["target_velocity"]

    def _velocity_reward(self, velocity: np.ndarray) -> np.ndarray:
        return -np.abs(velocity - self._target)


class HalfCheetahDir(_HalfCheetah):
    """Run forwards or backwards, whichever is hidden: r = d v - 0.05 sum(a^2), d = +1 or -1.

    Tasks: `{"forward": 1}` or `{"forward": 0}`. There are only two, so `train` and `test` are
    the same, as in all of the literature (`shares_tasks`): a test here measures adaptation,
    not generalisation.

    Args:
        num_envs: number of simulations.
        torso_position: as in `HalfCheetahVel`.
        ctrl_cost_weight: as in `HalfCheetahVel`.
        frame_skip: as in `HalfCheetahVel`.
        action_scale: as in `HalfCheetahVel`.
        **kwargs: `max_episode_steps`, `timestep`, `num_threads` of `MujocoTaskEnv`.
    """

    task_space = spaces.Dict({"forward": spaces.Discrete(2)})
    nominal_task = {"forward": 1}
    shares_tasks = True

    def __init__(
        self,
        num_envs: int = 1,
        *,
        torso_position: bool = True,
        ctrl_cost_weight: float = 0.05,
        frame_skip: int = 5,
        action_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_envs,
            torso_position=torso_position,
            ctrl_cost_weight=ctrl_cost_weight,
            frame_skip=frame_skip,
            action_scale=action_scale,
            **kwargs,
        )
        self._direction = np.ones(num_envs)

    def _distributions(self) -> dict[str, TaskDistribution]:
        both = ListTasks({"forward": np.array([0, 1])})
        return {"train": both, "test": both}

    def _apply_tasks(self, tasks: Tasks, rows: np.ndarray) -> None:
        self._direction[rows] = 2.0 * tasks["forward"] - 1.0

    def _velocity_reward(self, velocity: np.ndarray) -> np.ndarray:
        return self._direction * velocity
