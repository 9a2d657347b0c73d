"""metarl: meta-train policies on distributions of MuJoCo tasks, and adapt to new ones.

    learner = metarl.load("runs/x")
    policy = metarl.adapt(learner, env, episodes=20, steps=1)
    result = metarl.evaluate(learner, "metarl/HalfCheetahVel-v0")

Importing it registers the environments of `metarl_envs` with Gymnasium.
"""

from metarl.adapted_policy import AdaptedPolicy, adapt
from metarl.deployment.sb3_model import to_sb3
from metarl.errors import CheckpointError, ConfigError, EnvironmentFitError, UserError
from metarl.evaluation import EvaluationResult, evaluate
from metarl.evaluation.demonstrate import load_demonstrations
from metarl.evaluation.task_distances import task_distances
from metarl.experiment.building import load
from metarl.experiment.config import ExperimentConfig, load_config
from metarl.experiment.policy_folder import load_policy, save_policy
from metarl.experiment.zoo import zoo_names
from metarl.trained_env import make_env
from metarl.training import train

__version__ = "0.1.0"

__all__ = [
    "AdaptedPolicy",
    "CheckpointError",
    "ConfigError",
    "EnvironmentFitError",
    "EvaluationResult",
    "ExperimentConfig",
    "UserError",
    "adapt",
    "evaluate",
    "load",
    "load_config",
    "load_demonstrations",
    "load_policy",
    "make_env",
    "save_policy",
    "task_distances",
    "to_sb3",
    "train",
    "zoo_names",
]
