"""PPO from scratch on held-out tasks (stable-baselines3): what adaptation has to be compared with.

python scripts/scratch.py runs/x --num-tasks 5 --budgets 1 100

Each held-out task of a run gets a new policy, trained on as many environment steps as adaptation
used, and on a multiple of them.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

import metarl
from metarl.command_line import allow_imports, run
from metarl.errors import CheckpointError
from metarl.learners.base import MetaLearner
from metarl.trained_env import training_of
from metarl_envs.tasks.batches import take


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description="PPO from scratch per held-out task.")
    parser.add_argument("path", type=Path, help="a finished run, whose held-out tasks are used")
    parser.add_argument("--num-tasks", type=int, default=5)
    parser.add_argument("--budgets", nargs="+", type=int, default=[1, 100], help="multiples")
    allow_imports(parser)
    arguments = parser.parse_args()
    evaluation = arguments.path / "evaluation.json"
    if not evaluation.is_file():
        raise CheckpointError(f"{arguments.path} is no finished run: it has no evaluation.json")
    learner = metarl.load(arguments.path, trust_imports=arguments.allow_import)
    document = json.loads(evaluation.read_text())
    tasks = {key: np.asarray(values) for key, values in document["tasks"].items()}
    behind = [step["env_steps"] for step in document["summary"]]
    # of one adaptation step; an evaluation without any has nothing to compare with
    steps = round(behind[min(1, len(behind) - 1)]) or training_of(learner).horizon
    for budget in arguments.budgets:
        returns = []
        for index in range(min(arguments.num_tasks, len(document["returns"][0]))):
            single = {key: value[0] for key, value in take(tasks, [index]).items()}
            returns.append(_from_scratch(learner, single, budget * steps))
        print(f"{budget * steps:>9,} steps from scratch: mean return {np.mean(returns):.1f}")
    for step, returns_ME in enumerate(document["returns"]):
        known = np.asarray(returns_ME[: arguments.num_tasks], float)  # NaN where one diverged
        lost = f" ({np.isnan(known).mean():.0%} diverged)" if np.isnan(known).any() else ""
        value = f"mean return {np.nanmean(known):.1f}{lost}"
        print(f"{behind[step]:>9,.0f} steps of adaptation:  {value}")


def _from_scratch(learner: MetaLearner, task: dict[str, Any], steps: int) -> float:
    """Mean return of a new PPO policy after so many environment steps on one task."""
    env = metarl.make_env(learner, task)
    model = PPO("MlpPolicy", Monitor(env), n_steps=min(2000, steps), batch_size=100, seed=0)
    model.learn(steps)
    value, _ = evaluate_policy(model, Monitor(env), n_eval_episodes=20, deterministic=False)
    return float(np.mean(value))


if __name__ == "__main__":
    run(main)
