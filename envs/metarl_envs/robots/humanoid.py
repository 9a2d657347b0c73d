"""HumanoidDir: the humanoid of Gymnasium's `Humanoid-v5` running in a hidden direction.

Definition as in PEARL (Rakelly et al. 2019, arXiv 1903.08254, humanoid_dir) and ProMP: 5 simulator
steps of 0.003 s per control step, 200 control steps, actions in [-1, 1] for actuators of +-0.4.
Contact forces: see `engine.model.add_contact_probe` and the measurement in `ant`.
"""

from typing import Any

import mujoco
import numpy as np

from metarl_envs.engine.model import add_contact_probe
from metarl_envs.parts.goals import Heading
from metarl_envs.robots.base import MujocoTaskEnv

_RESET_NOISE = 0.01  # m, rad and their rates
_MAX_CONTACT_COST = 10.0


class Humanoid(MujocoTaskEnv):
    """r = 0.25 goal * frame_skip - 0.1 sum(ctrl^2) - contact + 5; falls unless 1 m < height < 2 m.

    contact = min(5e-7 sum(cfrc_ext^2), 10). Velocity is that of the centre of mass. The papers'
    code divides its displacement over a control step by the *simulator* step, which makes it
    `frame_skip` times a velocity: `forward_reward_weight=0.05` undoes it. Quantities: height,
    position, forward_velocity, planar_velocity. The observation has PEARL's 376 numbers, among
    them the world body's zeros.

    Args:
        num_envs: number of simulations.
        forward_reward_weight: weight of the goal's reward per simulator step.
        ctrl_cost_weight: weight of sum(ctrl^2).
        contact_cost_weight: weight of sum(cfrc_ext^2).
        alive_reward: paid in every step.
        frame_skip: simulator steps (0.003 s) per control step.
        action_scale: see `MujocoTaskEnv`; 2.5 maps [-1, 1] to the actuators' +-0.4.
        **kwargs: `goal`, `variations` and others of `MujocoTaskEnv`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        forward_reward_weight: float = 0.25,
        ctrl_cost_weight: float = 0.1,
        contact_cost_weight: float = 5e-7,
        alive_reward: float = 5.0,
        frame_skip: int = 5,
        action_scale: float = 2.5,
        **kwargs: Any,
    ) -> None:
        self._forward_weight, self._ctrl_weight = forward_reward_weight, ctrl_cost_weight
        self._contact_weight, self._alive_reward = contact_cost_weight, alive_reward
        super().__init__(
            num_envs,
            xml_file="humanoid.xml",
            observation_size=376,
            frame_skip=frame_skip,
            action_scale=action_scale,
            **kwargs,
        )
        names = ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")
        self.derived = [self.simulations.bind(name) for name in names]
        self._body_positions = self.simulations.bind("xipos")

    def _edit_model(self, spec: mujoco.MjSpec) -> None:
        add_contact_probe(spec, "torso")

    @property
    def height(self) -> np.ndarray:
        return self.qpos[:, 2]

    @property
    def position(self) -> np.ndarray:
        return self._moved_point()

    @property
    def forward_velocity(self) -> np.ndarray:
        return self._velocity[:, 0]

    @property
    def planar_velocity(self) -> np.ndarray:
        return self._velocity

    def _moved_point(self) -> np.ndarray:
        """The centre of mass."""
        mass = self.simulations.masses()
        weighted = (mass[:, :, None] * self._body_positions[:, :, :2]).sum(axis=1)
        centre: np.ndarray = weighted / mass.sum(axis=1, keepdims=True)
        return centre

    def _initial_state(
        self, row: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        qpos = self.model.qpos0 + generator.uniform(-_RESET_NOISE, _RESET_NOISE, self.model.nq)
        return qpos, generator.uniform(-_RESET_NOISE, _RESET_NOISE, self.model.nv)

    def _robot_observation(self) -> np.ndarray:
        derived = [part.reshape(self.num_envs, -1) for part in self.derived]
        return np.concatenate([self.qpos[:, 2:], self.qvel, *derived], axis=1)

    def _outcome(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        weight = self._forward_weight * self.frame_skip
        contact = self._contact_weight * np.square(self.derived[-1]).sum(axis=(1, 2))
        rewards = weight * self.goal.reward(self) + self._alive_reward
        rewards -= self._ctrl_weight * np.vecdot(control, control)
        rewards -= np.minimum(contact, _MAX_CONTACT_COST)
        return rewards, (self.height < 1.0) | (self.height > 2.0)


def humanoid_dir(num_envs: int = 1, **kwargs: Any) -> Humanoid:
    """Run along a hidden heading: `{"heading": angle}`, radians over the full circle.

    Args:
        num_envs: number of simulations.
        **kwargs: arguments of `Humanoid`.
    """
    return Humanoid(num_envs, goal=Heading(), **kwargs)
