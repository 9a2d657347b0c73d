"""Held out means held out, and lost episodes are no scores."""

import json

import gymnasium
import numpy as np
import pytest
from conftest import TINY
from rich.console import Console

import metarl
from metarl.environments.config import EnvConfig
from metarl.environments.fit import spec_of_spaces
from metarl.environments.make import make_env
from metarl.experiment.building import build_learner
from metarl.experiment.config import parse_config
from metarl.reports.plot import plot_adaptation
from metarl.reports.table import adaptation_table
from metarl.seeding import Purpose, entropy
from metarl.training.task_sources import make_task_source
from metarl_envs.tasks.distributions import UniformTasks

POINT = "metarl/PointNavigation-v0"


def test_no_two_paths_name_one_stream():
    paths = [(0, 1), (0, 1, 0), (0, 1, 0, 0), (0,), (0, 0), (1 << 32, 1), (0, 1, 1), (1, 0, 1)]
    seen = {tuple(np.random.SeedSequence(entropy(p)).generate_state(4)) for p in paths}
    assert len(seen) == len(paths)


def test_an_evaluation_does_not_draw_the_tasks_of_an_iteration(tiny_run, tiny_config):
    result = metarl.evaluate(metarl.load(tiny_run), POINT, split="train", num_tasks=3, seed=0)
    distribution = gymnasium.make_vec(POINT).task_distribution("train")
    first, _ = make_task_source(tiny_config, distribution)(0)
    assert not np.isin(result.tasks["goal"], first["goal"]).any()
    assert Purpose.FIXED_TASKS != Purpose.TASKS


@pytest.mark.parametrize("split", ["train", "validation", "test", "gap", "extrapolation"])
def test_held_out_is_computed_from_what_training_drew_from(split, tiny_run):
    result = metarl.evaluate(
        metarl.load(tiny_run), POINT, split=split, num_tasks=4, episodes=1, adaptation_steps=0
    )
    assert result.held_out == (split != "train")


def test_test_tasks_of_another_range_may_be_training_tasks(tiny_run):
    """Training drew goals up to 0.5; held-out goals of a smaller square are among them."""
    result = metarl.evaluate(
        metarl.load(tiny_run),
        POINT,
        num_tasks=50,
        episodes=1,
        adaptation_steps=0,
        env_kwargs={"action_scale": 10.0, "goal_range": 0.4},
    )
    assert result.split == "test" and not result.held_out
    assert "training may have seen" in adaptation_table(result).title


@pytest.mark.parametrize("size", [1, 2, 8])
def test_the_gap_is_a_fifth_in_wide_blocks(size):
    low, high = {"x": np.zeros(size)}, {"x": np.ones(size)}
    parts = {p: UniformTasks(low, high, part=p) for p in ("train", "validation", "held_out", "gap")}
    drawn = UniformTasks(low, high).sample(20_000, 0)
    shares = {name: part.contains(drawn).mean() for name, part in parts.items()}
    assert shares["gap"] == pytest.approx(0.2, abs=0.01)
    assert shares["held_out"] == pytest.approx(0.08, abs=0.01)
    assert shares["validation"] == pytest.approx(0.08, abs=0.01)
    assert sum(shares.values()) == pytest.approx(1.0)
    # how far a task is from training: a cell for held-out ones, most of a block in the gap
    train = parts["train"].sample(4000, 1)["x"][:, : min(size, 2)]
    near = {
        name: np.median([np.abs(train - t).max(1).min() for t in tasks])
        for name in ("held_out", "gap")
        for tasks in [parts[name].sample(200, 2)["x"][:, : min(size, 2)]]
    }
    assert near["held_out"] < 0.01 and near["gap"] > 0.02


def test_a_list_of_the_literature_leaves_no_part_of_the_range_out():
    env = make_env(EnvConfig(id="metarl/HalfCheetahVel-v0", kwargs={"task_list": "pearl"}), 1, 10)
    assert set(env.task_splits) == {"train", "test", "extrapolation"}
    for split in ("test", "extrapolation"):
        train = env.task_distribution("train").sample(100, 0)
        assert not env.task_distribution(split).contains(train).any()


def test_values_without_effect_hold_nothing_out():
    matters = {"x": np.array([False, True])}
    part = UniformTasks({"x": [0.0, 0.0]}, {"x": [1.0, 1.0]}, part="held_out", matters=matters)
    tasks = part.sample(100, 0)
    moved = {"x": np.stack([np.random.default_rng(0).random(100), tasks["x"][:, 1]], axis=1)}
    assert part.contains(moved).all()


class TestLostEpisodes:
    """An environment that turns NaN: counted, left out, and no figures above a tenth."""

    def config(self, after):
        env = {"id": "plugged:TurnsNaN-v0", "kwargs": {"after": after}}
        return parse_config({**TINY, "env": env, "iterations": 1, "evaluation": {"num_tasks": 3}})

    @pytest.mark.parametrize("after", [0, 6])
    def test_all_of_them(self, after, tmp_path):
        result = metarl.train(self.config(after), tmp_path / "run")
        assert not result.success.any()  # `is_success` before the end counts for nothing
        assert result.diverged.all() and np.isnan([s.mean for s in result.summary]).all()
        console = Console(record=True, width=120)
        console.print(adaptation_table(result))
        printed = console.export_text()
        assert "none" in printed and "100.0 %" in printed
        narrow = Console(record=True, width=80)
        narrow.print(adaptation_table(result))
        assert "100.0 %" in narrow.export_text()  # numbers are never folded
        document = json.loads((tmp_path / "run/evaluation.json").read_text())
        assert document["diverged"] == result.returns.size
        assert document["returns"][0][0][0] is None and document["summary"][1]["mean"] is None
        plot_adaptation(result, tmp_path / "curve.png")

    def test_a_few(self, tiny_run):
        result = metarl.evaluate(metarl.load(tiny_run), POINT, num_tasks=5, episodes=4)
        result.diverged[1, 0, 0] = True
        step = result.summary[1]
        assert step.diverged == 1 / 20
        assert step.mean == pytest.approx(np.delete(result.returns[1].ravel(), 0).mean())
        assert result.summary[0].diverged == 0.0


def test_a_plain_environment_that_turns_nan_is_adapted_to_as_in_a_batch(tiny_document):
    """`metarl.adapt` steps it one episode after the other: no NaN reaches the parameters."""
    for learner in ("maml", "rl2"):
        document = {**tiny_document, "learner": {"name": learner}, "policy": {}}
        env = {"id": "plugged:TurnsNaN-v0", "kwargs": {"after": 6}}
        config = parse_config({**document, "env": env})
        single = gymnasium.make("plugged:TurnsNaN-v0", after=6)
        spec = spec_of_spaces(single.observation_space, single.action_space)
        policy = metarl.adapt(build_learner(config, spec), single, episodes=3)
        action, _ = policy.predict(np.zeros(1, np.float32))
        assert np.isfinite(action).all()
