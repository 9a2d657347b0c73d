"""A robot of your own from an MJCF file, as a native batched environment.

Run it: python docs/examples/own_mjcf.py
"""

import tempfile
from pathlib import Path

import numpy as np

import metarl
from metarl.experiment.config import parse_config
from metarl_envs import register_task_env
from metarl_envs.parts.goals import TargetVelocity
from metarl_envs.robots.base import MujocoTaskEnv

CART = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <geom type="plane" size="20 2 0.1"/>
    <body name="cart" pos="0 0 0.2">
      <joint name="rail" type="slide" axis="1 0 0" damping="0.5"/>
      <geom type="box" size="0.2 0.1 0.1" mass="1"/>
      <body name="pole">
        <joint name="hinge" type="hinge" axis="0 1 0" damping="0.05"/>
        <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.03" mass="0.2"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="rail" gear="5" ctrlrange="-1 1" ctrllimited="true"/></actuator>
</mujoco>
"""


class CartVel(MujocoTaskEnv):
    """A cart with a hanging load, at a hidden velocity: r = -|v - v*| - 0.1 |swing|."""

    def __init__(self, num_envs=1, *, xml_file, frame_skip=5, **kwargs):
        super().__init__(
            num_envs,
            xml_file=xml_file,
            goal=TargetVelocity((-1.0, 1.0)),  # m/s
            observation_size=3,
            frame_skip=frame_skip,
            **kwargs,
        )

    @property
    def forward_velocity(self):
        return self._velocity[:, 0]

    def _initial_state(self, row, generator):
        return self.model.qpos0, generator.uniform(-0.1, 0.1, self.model.nv)

    def _robot_observation(self):
        return np.concatenate([self.qpos[:, 1:], self.qvel], axis=1)

    def _outcome(self, control):
        swing = np.abs(self.qpos[:, 1])
        return self.goal.reward(self) - 0.1 * swing, swing > 1.5


register_task_env("example/CartVel-v0", f"{__name__}:CartVel", 100)


def main(run_dir, iterations=20):
    """Write the model, meta-train, evaluate; variations come for free."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cart.xml"
        path.write_text(CART)
        variations = {"payload": {"body": "pole", "max_mass": 1.0}}
        kwargs = {"xml_file": str(path), "variations": variations}
        config = parse_config(
            {
                "env": {"id": "example/CartVel-v0", "kwargs": kwargs},
                "learner": {"name": "maml"},
                "meta_batch": 10,
                "episodes": 10,
                "horizon": 100,
                "iterations": iterations,
            }
        )
        return metarl.train(config, run_dir)


if __name__ == "__main__":
    main("runs/cart_vel")
