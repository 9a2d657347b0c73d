"""Every Python block of the documentation runs, one after the other, page by page."""

import re
from pathlib import Path
from textwrap import dedent

import gymnasium
import numpy as np
import pytest
from demonstrated import demonstrate_by_chance

import metarl
from metarl.experiment.config import parse_config

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(page for page in DOCS.glob("*.md") if "```python" in page.read_text())
SHOWN = "demonstrations/reacher_goal"
REACHER = {"id": "metarl/ReacherGoal-v0"}
POINT = {"id": "metarl/PointNavigation-v0", "kwargs": {"action_scale": 10.0}}
SMALLER = (("100_000", "64"), ("episodes=20", "episodes=2"), ("num_envs=64", "num_envs=2"))
SMALLER += (("num_tasks=40", "num_tasks=2"), ("max_episode_steps=200", "max_episode_steps=20"))
SMALLER += (("(episodes=10)", "(episodes=2)"), ("(episodes=5)", "(episodes=1)"))


class StandsStill:
    """Where a page leaves the robot's methods to its reader."""

    def start(self):
        return np.zeros(2)

    def observe(self):
        return np.ones(2)

    def act(self, action):
        pass

    def stop(self):
        pass


def learner_for(page, folder):
    """What the page speaks of as `learner`, and `runs/x`."""
    env = REACHER if page == "guided" else POINT
    document = {
        "env": env,
        "learner": {
            "name": {"metric_based": "prototypes", "memory_based": "rl2"}.get(page, "maml")
        },
        "meta_batch": 2,
        "episodes": 2,
        "horizon": 10,
        "iterations": 1,
        "evaluation": {"num_tasks": 2, "episodes": 2, "adaptation_steps": 1},
    }
    if page == "metric_based":
        document["tasks"] = {"kind": "fixed", "num": 2}
    if page == "guided":
        for split in ("train", "test"):
            demonstrate_by_chance(folder / SHOWN / split, env, split=split)
        tasks = {"kind": "demonstrated", "demonstrations": str(folder / SHOWN / "train")}
        document |= {"learner": {"name": "imitation"}, "tasks": tasks}
        document["evaluation"]["demonstrations"] = str(folder / SHOWN / "test")
    metarl.train(parse_config(document), folder / "runs/x")
    return metarl.load(folder / "runs/x")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of stable-baselines3, on small batches
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learner = learner_for(page.stem, tmp_path)
    env = metarl.make_env(learner, {"goal": [0.1, 0.1]})
    space = {
        "metarl": metarl,
        "gymnasium": gymnasium,
        "np": np,
        "learner": learner,
        "env": env,
        "env_id": POINT["id"],
        "tasks": {"goal": [[0.1, 0.2], [0.3, 0.4]]},
        "obs": np.zeros(2),
        "observation_space": env.observation_space,
        "action_space": env.action_space,
    }
    if not learner.adapts_to_demonstrations:
        space["policy"] = metarl.adapt(learner, env, episodes=2)
    for found in re.findall(r"^ *```python\n(.*?)```", page.read_text(), re.DOTALL | re.MULTILINE):
        block = dedent(found)
        for long, short in SMALLER:
            block = block.replace(long, short)
        exec(compile(block, str(page), "exec"), space)
        if "MyRobot" in space:
            space["MyRobot"] = StandsStill
