"""An environment of your own: a pendulum of hidden length, swung up from hanging.

Run it: python docs/examples/own_gymnasium_env.py. Twenty iterations show how it is
done; they are too few to swing it up.
"""

import gymnasium
import numpy as np

import metarl
from metarl.experiment.config import parse_config
from metarl_envs.checker import check_task_env
from metarl_envs.gymnasium_envs import PluginDefinition
from metarl_envs.tasks.splits import TaskRange


def set_length(env, task):
    """What a task does to Gymnasium's own pendulum, which knows nothing of tasks."""
    env.unwrapped.l = float(task["length"])


def main(run_dir, iterations=20):
    """Check, meta-train, evaluate, adapt."""
    env_id = "Pendulum-v1"
    definition = PluginDefinition(env_id, tasks={"length": TaskRange(0.5, 1.5)}, apply=set_length)
    for finding in check_task_env(gymnasium.make(env_id), definition):
        print("-", finding)
    config = parse_config(
        {
            "env": {
                "id": env_id,
                "plugin": {
                    "apply": "own_gymnasium_env:set_length",  # module:function
                    "tasks": {"length": {"low": 0.5, "high": 1.5}},
                    "num_workers": 2,
                },
            },
            "learner": {"name": "maml"},
            "meta_batch": 5,
            "episodes": 8,
            "horizon": 100,
            "iterations": iterations,
            "evaluation": {"num_tasks": 5, "episodes": 8},
        }
    )
    result = metarl.train(config, run_dir)
    env = gymnasium.make(env_id, max_episode_steps=100)
    set_length(env, {"length": 1.2})
    policy = metarl.adapt(metarl.load(run_dir), env, episodes=8, steps=1)
    action, _ = policy.predict(np.array([1.0, 0.0, 0.0]), deterministic=True)
    return result, action


if __name__ == "__main__":
    main("runs/own_pendulum")
