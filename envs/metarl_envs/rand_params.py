"""Walker2d and Hopper with random physical parameters: masses, inertias, damping, friction.

Definitions as in rand_param_envs (Rothfuss et al. 2018, used by ProMP, PEARL and VariBAD): each
parameter is its nominal value times b ** u, u ~ U(-3, 3), independently, with b = 1.5 for masses,
inertias and friction and b = 1.3 for damping. Bodies are those of Gymnasium's v5 classes (both of
the walker's feet have friction 1.9), at rand_param_envs' simulator step of 0.004 s, 4 per control
step. The constants that MuJoCo derives from mass follow the mass (`mj_setConst`), which the
original did not do.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError, did_you_mean
from metarl_envs.mujoco_env import MujocoTaskEnv
from metarl_envs.task_distributions import UniformTasks
from metarl_envs.task_parts import Splits, TaskPart
from metarl_envs.tasks import Tasks

# Model field -> base of its log-uniform multiplier
_BASES = {"body_mass": 1.5, "body_inertia": 1.5, "dof_damping": 1.3, "geom_friction": 1.5}
_RESET_NOISE = 0.005  # m, rad and their rates
_SPACE_EXPONENT = 6.0  # tasks may go this far; training stops at `log_scale_limit`


class ScaledFields(TaskPart):
    """Log-uniform multipliers of whole model fields, one per entry.

    Tasks: for each field f, `{f"{f}_scale": multipliers}` in the field's own shape. `train` and
    `test` interleave over the exponents U(-limit, limit); in `extrapolation` at least one
    multiplier lies outside (exponents up to limit + 1).

    Args:
        vary: model fields. Inertia follows the mass if `body_mass` varies and `body_inertia` does
            not.
        limit: largest exponent in training.
    """

    def __init__(self, vary: Sequence[str], limit: float) -> None:
        for name in vary:
            if name not in _BASES:
                raise EnvironmentConfigError(
                    f"cannot vary {name!r}{did_you_mean(name, _BASES)}; "
                    f"allowed: {', '.join(_BASES)}"
                )
        if not vary:
            raise EnvironmentConfigError("vary must name at least one model field")
        if not 0 < limit <= _SPACE_EXPONENT - 1:
            raise EnvironmentConfigError(
                f"log_scale_limit must be in (0, {_SPACE_EXPONENT - 1:g}], got {limit}"
            )
        self._vary, self._limit = tuple(vary), limit

    def prepare(self, env: MujocoTaskEnv) -> None:
        self._shapes = {name: getattr(env.model, name).shape for name in self._vary}

    def _bounds(self, exponent: float) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Lowest and highest multipliers, by task key."""
        low = {f"{n}_scale": np.full(s, _BASES[n] ** -exponent) for n, s in self._shapes.items()}
        return low, {key: 1.0 / value for key, value in low.items()}

    @property
    def spaces(self) -> dict[str, spaces.Space]:
        low, high = self._bounds(_SPACE_EXPONENT)
        return {key: spaces.Box(low[key], high[key], dtype=np.float64) for key in low}

    @property
    def nominal(self) -> dict[str, Any]:
        return {f"{name}_scale": np.ones(shape) for name, shape in self._shapes.items()}

    def splits(self) -> Splits:
        box, outer = self._bounds(self._limit), self._bounds(self._limit + 1)
        inside = UniformTasks(*box, log=True)
        return {
            "train": UniformTasks(*box, log=True, part="train"),
            "test": UniformTasks(*box, log=True, part="held_out"),
            "extrapolation": UniformTasks(*outer, log=True, excluding=inside),
        }

    def apply(self, env: MujocoTaskEnv, tasks: Tasks, rows: np.ndarray) -> None:
        scales = {name: tasks[f"{name}_scale"] for name in self._vary}
        if "body_mass" in scales and "body_inertia" not in scales:
            scales["body_inertia"] = scales["body_mass"][:, :, None]
        for name, scale in scales.items():
            env.field(name)[rows] *= scale


class RandParams(MujocoTaskEnv):
    """A planar robot that runs forwards: r = dx/dt + 1 - 0.001 sum(a^2).

    Tasks and splits: see `ScaledFields`.

    Args:
        num_envs: number of simulations.
        vary: model fields to vary. With both mass and inertia, they vary independently, as in
            the source.
        log_scale_limit: largest exponent in training.
        healthy_reward: paid in every step, also the last (`Walker2d-v5` and `Hopper-v5` pay
            it only while healthy).
        ctrl_cost_weight: weight of sum(a^2).
        frame_skip: simulator steps per control step.
        timestep: simulator step, s; None for the v5 model's own 0.002.
        action_scale: see `MujocoTaskEnv`.
        **kwargs: `max_episode_steps`, `num_threads`, `variations` of `MujocoTaskEnv`.
    """

    _xml_file: str
    _observation_size: int

    def __init__(
        self,
        num_envs: int = 1,
        *,
        vary: Sequence[str] = tuple(_BASES),
        log_scale_limit: float = 3.0,
        healthy_reward: float = 1.0,
        ctrl_cost_weight: float = 1e-3,
        frame_skip: int = 4,
        timestep: float | None = 0.004,
        action_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self._healthy_reward, self._ctrl_cost_weight = healthy_reward, ctrl_cost_weight
        super().__init__(
            num_envs,
            xml_file=self._xml_file,
            parts=[ScaledFields(vary, log_scale_limit)],
            observation_size=self._observation_size,
            frame_skip=frame_skip,
            timestep=timestep,
            action_scale=action_scale,
            **kwargs,
        )

    def _initial_state(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        qpos = self.model.qpos0 + generator.uniform(-_RESET_NOISE, _RESET_NOISE, self.model.nq)
        return qpos, generator.uniform(-_RESET_NOISE, _RESET_NOISE, self.model.nv)

    def _robot_observation(self) -> np.ndarray:
        return np.concatenate([self.qpos[:, 1:], np.clip(self.qvel, -10, 10)], axis=1)

    def _outcome(self, before: np.ndarray, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        velocity = (self.qpos[:, 0] - before) / self.dt
        cost = self._ctrl_cost_weight * np.square(control).sum(axis=1)
        return velocity + self._healthy_reward - cost, ~self._healthy()

    @abstractmethod
    def _healthy(self) -> np.ndarray:
        """Whether each robot still stands."""


class Walker2dRandParams(RandParams):
    """Walker2d, which falls unless 0.8 m < height < 2.0 m and |pitch| < 1 rad.

    Tasks, reward and arguments: see `RandParams`.
    """

    _xml_file = "walker2d_v5.xml"
    _observation_size = 17

    def _healthy(self) -> np.ndarray:
        height, pitch = self.qpos[:, 1], self.qpos[:, 2]
        return (height > 0.8) & (height < 2.0) & (np.abs(pitch) < 1.0)


class HopperRandParams(RandParams):
    """Hopper, which falls unless height > 0.7 m, |pitch| < 0.2 rad and every |state| < 100.

    Tasks, reward and arguments: see `RandParams`.
    """

    _xml_file = "hopper.xml"
    _observation_size = 11

    def _healthy(self) -> np.ndarray:
        height, pitch = self.qpos[:, 1], self.qpos[:, 2]
        state = np.concatenate([self.qpos[:, 2:], self.qvel], axis=1)
        calm = (np.abs(state) < 100.0).all(axis=1)
        return (height > 0.7) & (np.abs(pitch) < 0.2) & calm
