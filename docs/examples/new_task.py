"""A new task on an existing robot: HalfCheetah, told only by its reward how high to hold its body.

Run it: python docs/examples/new_task.py
"""

import numpy as np
from gymnasium import spaces

import metarl
from metarl.experiment.config import parse_config
from metarl_envs import register_task_env
from metarl_envs.parts.goals import KeyedGoal
from metarl_envs.robots.half_cheetah import HalfCheetah
from metarl_envs.tasks.splits import box_splits


class TorsoHeight(KeyedGoal):
    """Run, with the torso at a hidden height in m: r = v - 10 |z - z*|."""

    needs = ("height", "forward_velocity")

    def __init__(self):
        key = "torso_height"
        splits = box_splits({key: 0.55}, {key: 0.85}, outer=({key: 0.5}, {key: 0.9}))
        super().__init__(key, spaces.Box(0.2, 1.2, (), np.float64), 0.7, splits)

    def reward(self, robot):
        return robot.forward_velocity - 10.0 * np.abs(robot.height - self.values)


def half_cheetah_height(num_envs=1, **kwargs):
    """The robot as it is, with another goal."""
    return HalfCheetah(num_envs, goal=TorsoHeight(), **kwargs)


register_task_env("example/HalfCheetahHeight-v0", f"{__name__}:half_cheetah_height", 100)


def main(run_dir, iterations=20):
    """Meta-train and evaluate, here or under other sizes."""
    config = parse_config(
        {
            "env": {"id": "example/HalfCheetahHeight-v0", "kwargs": {"action_scale": 10.0}},
            "learner": {"name": "maml"},
            "meta_batch": 10,
            "episodes": 10,
            "horizon": 100,
            "iterations": iterations,
        }
    )
    return metarl.train(config, run_dir)


if __name__ == "__main__":
    main("runs/half_cheetah_height")
