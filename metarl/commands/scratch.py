"""PPO from scratch on held-out tasks (stable-baselines3): what adaptation has to be compared with.

metarl scratch runs/x --num-tasks 5 --budgets 1 100

Each held-out task of a run gets a new policy, trained on as many environment steps as adaptation
used, and on a multiple of them.
"""

import argparse
import json
from collections.abc import Collection, Sequence
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

import metarl
from metarl.command_line import working
from metarl.errors import CheckpointError
from metarl.files import write_whole
from metarl.learners.base import MetaLearner
from metarl.trained_env import training_of
from metarl_envs.errors import shortened
from metarl_envs.tasks.batches import take

_KEPT = "scratch.json"


def main(arguments: argparse.Namespace) -> None:
    """Train, print."""
    document = _evaluation(arguments.path)
    trust = arguments.allow_import
    with working("training from scratch"):
        found = from_scratch(arguments.path, arguments.num_tasks, arguments.budgets, trust)
    tasks = {key: values[: arguments.num_tasks] for key, values in document["tasks"].items()}
    print(f"on the first {arguments.num_tasks} of the held-out tasks: {shortened(tasks)}")
    for steps, mean in found:
        print(f"{steps:>9,} steps from scratch: mean return {mean:.1f}")
    for step, returns_ME in zip(document["summary"], document["returns"], strict=True):
        known = np.asarray(returns_ME[: arguments.num_tasks], float)  # NaN where one diverged
        lost = f" ({np.isnan(known).mean():.0%} diverged)" if np.isnan(known).any() else ""
        value = f"mean return {np.nanmean(known):.1f}{lost}"
        print(f"{step['env_steps']:>9,.0f} steps of adaptation:  {value}")


def _evaluation(folder: Path) -> dict[str, Any]:
    """What a finished run came to."""
    path = folder / "evaluation.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} is no finished run: it has no evaluation.json")
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def from_scratch(
    folder: Path, num_tasks: int, budgets: Sequence[int], trust_imports: Collection[str] = ()
) -> list[tuple[int, float]]:
    """Mean return of new PPO policies, one per held-out task of a run; kept beside the run.

    Args:
        folder: of the finished run.
        num_tasks: the first of its held-out tasks.
        budgets: multiples of the environment steps that one adaptation step uses.
        trust_imports: see `metarl.load`.

    Returns:
        Environment steps per task and mean return, for each budget.
    """
    document, kept = _evaluation(folder), folder / _KEPT
    learner = metarl.load(folder, trust_imports=trust_imports)
    tasks = {key: np.asarray(values) for key, values in document["tasks"].items()}
    behind = [step["env_steps"] for step in document["summary"]]
    # of one adaptation step; an evaluation without any has nothing to compare with
    steps = round(behind[min(1, len(behind) - 1)]) or training_of(learner).horizon
    count = min(num_tasks, len(document["returns"][0]))
    known = json.loads(kept.read_text()) if kept.is_file() else {}
    for budget in budgets:
        name = f"{count} tasks, {budget * steps} steps"
        if name not in known:
            singles = [
                {key: value[0] for key, value in take(tasks, [index]).items()}
                for index in range(count)
            ]
            returns = [_from_scratch(learner, single, budget * steps) for single in singles]
            known[name] = float(np.mean(returns))
            write_whole(kept, json.dumps(known).encode())
    return [(b * steps, known[f"{count} tasks, {b * steps} steps"]) for b in budgets]


def _from_scratch(learner: MetaLearner, task: dict[str, Any], steps: int) -> float:
    """Mean return of a new PPO policy after so many environment steps on one task."""
    env = metarl.make_env(learner, task)
    count = min(2000, steps)
    model = PPO("MlpPolicy", Monitor(env), n_steps=count, batch_size=gcd(count, 100), seed=0)
    model.learn(steps)
    value, _ = evaluate_policy(model, Monitor(env), n_eval_episodes=20, deterministic=False)
    return float(np.mean(value))
