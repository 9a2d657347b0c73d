"""metarl: meta-train policies on distributions of MuJoCo tasks, and adapt to new ones.

    learner = metarl.load("runs/x")
    policy = metarl.adapt(learner, metarl.make_env(learner, task), episodes=20, steps=1)
    result = metarl.evaluate(learner, "metarl/HalfCheetahVel-v0")

Importing it registers the environments of `metarl_envs` with Gymnasium. What it offers is loaded
with its first use, torch included.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

# A task's bits must not depend on its place among others. MKL's kernels otherwise round by where in
# memory a matrix begins (seen on AMD); read with the first product, costs no speed (measured).
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
# OpenBLAS's kernel for Haswell, which it takes for AMD too, rounds by a row's place. Chosen when
# NumPy is loaded; that with AVX-512 is faster, that without FMA 1.2 times as slow (measured).
_CPU = Path("/proc/cpuinfo")
if _CPU.is_file() and os.environ.get("OPENBLAS_CORETYPE", "Haswell") in ("Haswell", "Zen"):
    _FLAGS = set(_CPU.read_text(errors="replace").partition("flags")[2].partition("\n")[0].split())
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"} <= _FLAGS:
        os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"
    elif "avx" in _FLAGS:
        os.environ["OPENBLAS_CORETYPE"] = "Sandybridge"

import metarl_envs  # noqa: E402, F401

if TYPE_CHECKING:
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

_HOMES = {
    "AdaptedPolicy": "adapted_policy",
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "EnvironmentFitError": "errors",
    "EvaluationResult": "evaluation",
    "ExperimentConfig": "experiment.config",
    "UserError": "errors",
    "adapt": "adapted_policy",
    "evaluate": "evaluation",
    "load": "experiment.building",
    "load_config": "experiment.config",
    "load_demonstrations": "evaluation.demonstrate",
    "load_policy": "experiment.policy_folder",
    "make_env": "trained_env",
    "save_policy": "experiment.policy_folder",
    "task_distances": "evaluation.task_distances",
    "to_sb3": "deployment.sb3_model",
    "train": "training",
    "zoo_names": "experiment.zoo",
}

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


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'metarl' has no attribute {name!r}")
    value = getattr(import_module(f"metarl.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
