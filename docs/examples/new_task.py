"""A new task on an existing robot: HalfCheetah, told only by its reward how high to hold its body.

Run it: python docs/examples/new_task.py
"""

import numpy as np
from gymnasium import spaces

import metarl
from metarl.experiment.config import parse_config
from metarl_envs import register_task_env
from metarl_envs.parts.goals import Goal
from metarl_envs.robots.half_cheetah import HalfCheetah
from metarl_envs.tasks.distributions import UniformTasks


class HalfCheetahHeight(HalfCheetah):
    """r = v - 10 |z - z*| - 0.05 sum(a^2): run, with the torso at a hidden height."""

    def __init__(self, num_envs=1, **kwargs):
        key, low, high = "torso_height", -0.15, 0.15  # m, relative to standing
        self._height = Goal(
            key,
            spaces.Box(-0.5, 0.5, (), np.float64),
            0.0,
            {
                "train": UniformTasks({key: low}, {key: high}, part="train"),
                "test": UniformTasks({key: low}, {key: high}, part="held_out"),
            },
        )
        super().__init__(num_envs, parts=[self._height], **kwargs)

    def _outcome(self, before, control):
        rewards, terminated = super()._outcome(before, control)
        return rewards - 10.0 * np.abs(self.qpos[:, 1] - self._height.values), terminated


register_task_env("example/HalfCheetahHeight-v0", f"{__name__}:HalfCheetahHeight", 100)


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
