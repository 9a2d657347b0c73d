"""Environments as users write them, for the plug-in tests; imported by worker processes."""

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces

from metarl_envs import register_task_env
from metarl_envs.parts.goals import TargetVelocity
from metarl_envs.robots.base import MujocoTaskEnv
from metarl_envs.tasks.distributions import UniformTasks


class Point(gymnasium.Env):
    """Walk to a goal on a line; `set_task`, `task_space` and `task_distribution` as we ask."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,))
    action_space = spaces.Box(-1.0, 1.0, (1,))
    task_space = spaces.Dict({"goal": spaces.Box(-2.0, 2.0, (), np.float64)})

    def __init__(self, goal=0.0):
        self.goal, self.x, self.steps = goal, 0.0, 0

    def set_task(self, task):
        self.goal = float(task["goal"])

    def task_distribution(self, split):
        part = {"train": "train", "test": "held_out"}[split]
        return UniformTasks({"goal": -1.0}, {"goal": 1.0}, part=part)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.steps = self.np_random.uniform(-0.1, 0.1), 0
        return np.array([self.x], np.float32), {}

    def step(self, action):
        self.x += 0.2 * float(action[0])
        self.steps += 1
        distance = abs(self.x - self.goal)
        info = {"is_success": distance < 0.1}
        return np.array([self.x], np.float32), -distance, False, False, info


class DictPoint(Point):
    """The goal is in the observation, as in goal-conditioned environments."""

    observation_space = spaces.Dict(
        {"x": spaces.Box(-np.inf, np.inf, (1,)), "desired_goal": spaces.Box(-2, 2, (1,))}
    )

    def _obs(self):
        return {
            "x": np.array([self.x], np.float32),
            "desired_goal": np.array([self.goal], np.float32),
        }

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._obs(), {}

    def step(self, action):
        _, reward, terminated, truncated, info = super().step(action)
        return self._obs(), reward, terminated, truncated, info


class DrawnPoint(Point):
    """Draws itself, in the process that it lives in."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode=None):
        super().__init__()
        self.render_mode = render_mode

    def render(self):
        frame = np.zeros((64, 64, 3), np.uint8)
        frame[:, int(np.clip(32 + 20 * self.x, 0, 63))] = 255
        frame[self.steps % 64] = 128  # one that stands still shows the time
        return frame


class TurnsNaN(Point):
    """Observations and rewards are NaN after some steps."""

    def __init__(self, after=0):
        super().__init__()
        self._after = after

    def step(self, action):
        obs, reward, *rest = super().step(action)
        if self.steps > self._after:
            obs, reward = obs * np.nan, float("nan")
        return obs, reward, *rest


class LeavesTheWorld(Point):
    """Observations are NaN far from the start."""

    def step(self, action):
        obs, *rest = super().step(action)
        return obs * np.nan if abs(self.x) > 0.4 else obs, *rest


class DiscretePoint(DrawnPoint):
    """Left, stay, right."""

    action_space = spaces.Discrete(3)

    def step(self, action):
        assert action in (0, 1, 2)
        return super().step([float(action) - 1.0])


class Unbounded(Point):
    action_space = spaces.Box(-np.inf, np.inf, (1,))


class IntegerActions(Point):
    action_space = spaces.MultiDiscrete([3, 3])


# An environment that knows nothing of tasks, and a function that gives it some
class Plain(Point):
    set_task = property()  # hides it: hasattr is False


def apply_goal(env, task):
    env.unwrapped.goal = float(task["goal"])


# What the checker must find


class IgnoresTask(Point):
    def set_task(self, task):
        pass


class ForgetsTaskAtReset(Point):
    def reset(self, *, seed=None, options=None):
        self.goal = 0.0
        return super().reset(seed=seed)


class IgnoresSeed(Point):
    def reset(self, *, seed=None, options=None):
        _, info = super().reset(seed=seed)
        self.x = np.random.default_rng().uniform(-0.1, 0.1)
        return np.array([self.x], np.float32), info


class Overlapping(Point):
    def task_distribution(self, split):
        return UniformTasks({"goal": -1.0}, {"goal": 1.0})


class Leaks(Point):
    observation_space = spaces.Box(-np.inf, np.inf, (2,))

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        return np.append(obs, np.float32(self.goal)), info

    def step(self, action):
        obs, *rest = super().step(action)
        return (np.append(obs, np.float32(self.goal)), *rest)


def register(*classes):
    """Make them known as `Name-v0`, once."""
    for made in classes:
        if f"{made.__name__}-v0" not in gymnasium.registry:
            gymnasium.register(f"{made.__name__}-v0", made, max_episode_steps=25)


register(Point, DictPoint, DrawnPoint, TurnsNaN, DiscretePoint, Unbounded, IntegerActions, Plain)
register(LeavesTheWorld, IgnoresTask, ForgetsTaskAtReset, IgnoresSeed, Overlapping, Leaks)


# A robot of one's own, native and batched

SLIDER = """
<mujoco>
  <option timestep="0.01" gravity="0 0 0"/>
  <worldbody>
    <body name="cart">
      <joint name="slide" type="slide" axis="1 0 0" damping="1"/>
      <geom name="box" type="box" size="0.1 0.1 0.1" mass="1"/>
    </body>
  </worldbody>
  <actuator><motor joint="slide" gear="10" ctrlrange="-1 1" ctrllimited="true"/></actuator>
</mujoco>
"""


class Slider(MujocoTaskEnv):
    """A cart on a rail, at a hidden velocity."""

    def __init__(self, num_envs=1, *, xml_file, frame_skip=5, **kwargs):
        super().__init__(
            num_envs,
            xml_file=xml_file,
            goal=TargetVelocity((-1.0, 1.0)),
            observation_size=1,
            frame_skip=frame_skip,
            **kwargs,
        )

    @property
    def forward_velocity(self):
        return self.qvel[:, 0]

    def _initial_state(self, row, generator):
        return self.model.qpos0, generator.uniform(-0.1, 0.1, self.model.nv)

    def _robot_observation(self):
        return self.qvel.copy()

    def _outcome(self, control):
        return self.goal.reward(self), np.abs(self.qpos[:, 0]) > 5.0


register_task_env("plugged/Slider-v0", "plugged:Slider", max_episode_steps=25)


class Windy(Point):
    """A slider of 1 kg in the wind of its task; its model is made anew at every reset."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,))
    task_space = spaces.Dict({"wind": spaces.Box(-5.0, 5.0, (), np.float64)})
    wind = 0.0

    def __init__(self):
        super().__init__()
        self._build()

    def _build(self):
        self.model = mujoco.MjModel.from_xml_string(
            """<mujoco><worldbody><body><joint type="slide" axis="1 0 0"/>
            <geom size="0.1" mass="1"/></body></worldbody></mujoco>"""
        )
        self.data = mujoco.MjData(self.model)

    def set_task(self, task):
        self.wind = float(task["wind"])

    def task_distribution(self, split):
        part = {"train": "train", "test": "held_out"}[split]
        return UniformTasks({"wind": -4.0}, {"wind": 4.0}, part=part)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._build()
        self.data.xfrc_applied[1, 0] = self.wind
        return np.zeros(2, np.float32), {}

    def step(self, action):
        mujoco.mj_step(self.model, self.data)
        seen = np.concatenate([self.data.qpos, self.data.qvel]).astype(np.float32)
        return seen, 0.0, False, False, {}


register(Windy)
