"""HumanoidDir: the humanoid of Gymnasium's `Humanoid-v5` running in a hidden direction.

Definition as in PEARL (Rakelly et al. 2019, arXiv 1903.08254, humanoid_dir) and ProMP: 5 simulator
steps of 0.003 s per control step, 200 control steps, actions in [-1, 1] for actuators of +-0.4.
Contact forces: see `mujoco_env.add_contact_probe` and the measurement in `ant`.
"""

from typing import Any

import mujoco
import numpy as np

from metarl_envs.parts.goals import Heading
from metarl_envs.robots.base import MujocoTaskEnv, add_contact_probe

_RESET_NOISE = 0.01  # m, rad and their rates
_MAX_CONTACT_COST = 10.0


class HumanoidDir(MujocoTaskEnv):
    """Run along a hidden heading; falls unless 1.0 m < height < 2.0 m.

    r = 0.25 dcom . (cos h, sin h) / timestep - 0.1 sum(ctrl^2) - contact + 5, contact =
    min(5e-7 sum(cfrc_ext^2), 10). The papers' code divides the displacement of the centre of mass
    over a control step by the *simulator* step, which makes it five times a velocity:
    `forward_reward_weight=0.05` undoes it.

    Tasks: `{"heading": angle}`, radians over the full circle. The observation has PEARL's 376
    numbers, among them the world body's zeros.

    Args:
        num_envs: number of simulations.
        forward_reward_weight: weight of the displacement per simulator step.
        ctrl_cost_weight: weight of sum(ctrl^2).
        contact_cost_weight: weight of sum(cfrc_ext^2).
        alive_reward: paid in every step.
        frame_skip: simulator steps (0.003 s) per control step.
        action_scale: see `MujocoTaskEnv`; 2.5 maps [-1, 1] to the actuators' +-0.4.
        **kwargs: `max_episode_steps`, `timestep`, `num_threads`, `variations` of `MujocoTaskEnv`.
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
        self._goal = Heading()
        self._forward_weight, self._ctrl_weight = forward_reward_weight, ctrl_cost_weight
        self._contact_weight, self._alive_reward = contact_cost_weight, alive_reward
        super().__init__(
            num_envs,
            xml_file="humanoid.xml",
            parts=[self._goal],
            observation_size=376,
            frame_skip=frame_skip,
            action_scale=action_scale,
            **kwargs,
        )
        names = ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")
        self._derived = [self.batch.bind(name) for name in names]
        self._body_positions = self.batch.bind("xipos")

    def _edit_model(self, spec: mujoco.MjSpec) -> None:
        add_contact_probe(spec, "torso")

    def _initial_state(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        qpos = self.model.qpos0 + generator.uniform(-_RESET_NOISE, _RESET_NOISE, self.model.nq)
        return qpos, generator.uniform(-_RESET_NOISE, _RESET_NOISE, self.model.nv)

    def _before_step(self) -> np.ndarray:
        return self._centre_of_mass()

    def _centre_of_mass(self) -> np.ndarray:
        expanded = self.batch.expanded("body_mass")
        mass = self.model.body_mass[None] if expanded is None else expanded
        weighted = (mass[:, :, None] * self._body_positions[:, :, :2]).sum(axis=1)
        return weighted / mass.sum(axis=1, keepdims=True)

    def _robot_observation(self) -> np.ndarray:
        derived = [part.reshape(self.num_envs, -1) for part in self._derived]
        return np.concatenate([self.qpos[:, 2:], self.qvel, *derived], axis=1)

    def _outcome(
        self, before: np.ndarray, control: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        displacement = (self._centre_of_mass() - before) / self.model.opt.timestep
        contact = self._contact_weight * np.square(self._derived[-1]).sum(axis=(1, 2))
        rewards = self._forward_weight * self._goal.reward(displacement) + self._alive_reward
        rewards -= self._ctrl_weight * np.vecdot(control, control)
        rewards -= np.minimum(contact, _MAX_CONTACT_COST)
        height = self.qpos[:, 2]
        return rewards, (height < 1.0) | (height > 2.0)
