"""Use an installed metarl from outside its repository: train, load, adapt, evaluate."""

import tempfile
from pathlib import Path

import gymnasium
import numpy as np

import metarl
from metarl.experiment.config import parse_config


def main() -> None:
    """Run every public call once, at a tiny size."""
    env_id = "metarl/HalfCheetahVel-v0"
    config = parse_config(
        {
            "env": {"id": env_id},
            "learner": {"name": "maml"},
            "policy": {"hidden_sizes": [8]},
            "meta_batch": 2,
            "episodes": 3,
            "horizon": 20,
            "iterations": 2,
            "evaluation": {"num_tasks": 3, "episodes": 2, "adaptation_steps": 1},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        result = metarl.train(config, Path(folder) / "run")
        learner = metarl.load(Path(folder) / "run")
        assert result.returns.shape == (2, 3, 2)
        env = gymnasium.make(env_id, task={"target_velocity": 1.4})
        policy = metarl.adapt(learner, env, episodes=4, steps=1)
        action, _ = policy.predict(np.zeros(20), deterministic=True)
        assert env.action_space.contains(action.astype(np.float32))
    print(f"metarl {metarl.__version__} works from {Path(metarl.__file__).parent}")


if __name__ == "__main__":
    main()
