import json
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import metarl
from metarl.environments.fit import Spec
from metarl.evaluation import evaluate_tasks
from metarl.evaluation.metrics import METRICS, Metric, area_under_curve
from metarl.experiment.config import parse_config
from metarl.learners.base import MetaLearner, Setting
from metarl.params import flatten
from metarl.policies.actors import ActionStep
from metarl.reports.plot import plot_adaptation
from metarl.reports.table import adaptation_table
from metarl_envs.task_env import TaskVectorEnv, Transition
from metarl_envs.tasks import batches as task_batches
from metarl_envs.tasks.distributions import ListTasks


class SolvableGoals(TaskVectorEnv):
    """Reports success in tasks whose `solvable` is 1; those end at once, the others never do."""

    task_space = spaces.Dict({"solvable": spaces.Discrete(2), "reward": spaces.Box(-9, 9, ())})
    nominal_task = {"solvable": 0, "reward": 0.0}

    def __init__(self, num_envs=1, max_episode_steps=None):
        bounds = {"action_low": -np.ones(1), "action_high": np.ones(1), "action_scale": 1.0}
        super().__init__(
            num_envs, observation_size=1, max_episode_steps=max_episode_steps, **bounds
        )
        self._solvable, self._reward = np.zeros(num_envs, bool), np.zeros(num_envs)

    def _distributions(self):
        return {"train": ListTasks({}), "test": ListTasks({})}

    def _apply_tasks(self, tasks, rows):
        self._solvable[rows], self._reward[rows] = tasks["solvable"] == 1, tasks["reward"]

    def _reset_rows(self, rows, generators):
        pass

    def _observe(self):
        return np.zeros((self.num_envs, 1))

    def _advance(self, control, rows):
        info = {"success": self._solvable.copy()}
        return Transition(self._observe(), self._reward.copy(), self._solvable.copy(), info)


class DoesNothing(MetaLearner):
    """A learner whose state counts adaptation steps, and the episodes behind them."""

    def __init__(self):
        super().__init__(None, None, Setting(Spec(1, (-1.0,), (1.0,)), 1, 5))
        self.adapted_on = []

    def begin(self, num_tasks, episodes):
        return torch.zeros(num_tasks)

    def actor(self, state):
        return Idle()

    def adapt(self, state, rollouts):
        self.adapted_on.append(rollouts)
        return state + 1

    def iterate(self, work):
        raise AssertionError("an evaluator never trains")

    meta_parameters = property(lambda self: {})
    adapted_size = property(lambda self: 0)

    def load_meta_parameters(self, params):
        pass


class Idle:
    """Never moves, and has no log-probabilities."""

    state = None

    def act(self, seen, noise):
        return ActionStep(np.zeros((*seen.obs_MEO.shape[:2], 1), np.float32))


def evaluate_stub(tasks, episodes=3, steps=2, horizon=5, support=None, learner=None):
    count = len(tasks["solvable"])
    envs = [SolvableGoals(count * n, max_episode_steps=horizon) for n in (episodes, support or 1)]
    return evaluate_tasks(
        learner or DoesNothing(),
        envs[0],
        "stub",
        tasks,
        "test",
        steps,
        0,
        horizon=horizon,
        support=envs[1] if support else None,
    )


def test_episodes_and_steps_of_experience_behind_each_step():
    """Two tasks that end at once, two that take all five steps."""
    tasks = {"solvable": np.array([1.0, 1.0, 0.0, 0.0]), "reward": np.ones(4)}
    pooled = evaluate_stub(tasks)
    assert [(s.episodes, s.env_steps) for s in pooled.summary] == [(0, 0), (3, 9), (6, 18)]
    assert pooled.env_steps_behind[1].tolist() == [3, 3, 15, 15]
    trials = DoesNothing()
    trials.pools_episodes = False
    alone = evaluate_stub(tasks, learner=trials)
    assert [(s.episodes, s.env_steps) for s in alone.summary] == [(0, 0), (1, 3), (2, 6)]


def test_support_episodes_are_apart_from_those_that_measure():
    tasks = {"solvable": np.array([1.0, 0.0]), "reward": np.ones(2)}
    learner = DoesNothing()
    result = evaluate_stub(tasks, episodes=3, support=2, learner=learner)
    assert result.returns.shape == (3, 2, 3)
    assert [r.returns_ME.shape for r in learner.adapted_on] == [(2, 2)] * 2
    assert [s.episodes for s in result.summary] == [0, 2, 4]
    assert result.env_steps == 3 * 3 * 6 + 2 * 2 * 6


def test_support_episodes_of_a_real_learner(tiny_run):
    learner, point = metarl.load(tiny_run), "metarl/PointNavigation-v0"
    sizes = {"num_tasks": 3, "episodes": 4, "adaptation_steps": 1}
    whole = metarl.evaluate(learner, point, **sizes)
    apart = metarl.evaluate(learner, point, support_episodes=2, **sizes)
    # the same episodes measure the same policy before adaptation
    assert np.array_equal(whole.returns[0], apart.returns[0])
    assert not np.array_equal(whole.returns[1], apart.returns[1])
    assert apart.env_steps == whole.env_steps + 3 * 2 * 10
    with pytest.raises(metarl.ConfigError, match="support_episodes must be positive, got 0"):
        metarl.evaluate(learner, point, support_episodes=0)


def test_area_under_the_curve_by_hand():
    returns = np.array([0.0, 4.0, 6.0])[:, None, None] + np.zeros((3, 2, 2))
    assert area_under_curve(returns, None).tolist() == [0.0, 2.0, (2.0 + 5.0) / 2.0]


def test_a_registered_metric_is_in_table_json_and_summary(monkeypatch):
    worst = Metric(lambda returns, success: returns.mean(2).min(1), "worst task")
    monkeypatch.setitem(METRICS, "worst_task", worst)
    result = evaluate_stub({"solvable": np.zeros(2), "reward": np.array([1.0, 2.0])})
    assert [step.metrics["worst_task"] for step in result.summary] == [5.0] * 3
    assert result.to_json()["summary"][1]["worst_task"] == 5.0
    titles = [str(column.header) for column in adaptation_table(result).columns]
    assert "worst task" in titles and "success" in titles


@pytest.mark.parametrize("solved", [0, 1, 2, 4])
def test_success_is_exactly_the_share_of_solved_goals(solved):
    tasks = {"solvable": np.arange(4) < solved, "reward": np.ones(4)}
    result = evaluate_stub({k: v.astype(float) for k, v in tasks.items()})
    assert result.success.shape == (3, 4, 3)
    for step in range(3):
        assert result.success[step].mean() == solved / 4
    # early finishers are not counted more often, and each episode's return is its own
    assert result.returns[0, :, 0].tolist() == [1.0] * solved + [5.0] * (4 - solved)


def test_permuting_tasks_permutes_results():
    tasks = {"solvable": np.zeros(5), "reward": np.arange(5.0)}
    order = np.array([3, 0, 4, 1, 2])
    result, permuted = evaluate_stub(tasks), evaluate_stub(task_batches.take(tasks, order))
    assert np.array_equal(result.returns[:, order], permuted.returns)


def test_permuting_tasks_permutes_results_of_a_real_learner(tiny_run):
    learner = metarl.load(tiny_run)
    env = gymnasium.make_vec(
        "metarl/PointNavigation-v0", num_envs=15, max_episode_steps=10, action_scale=10.0
    )
    tasks = env.task_distribution("test").sample(5, 0)
    order = np.array([3, 0, 4, 1, 2])
    results = [
        evaluate_tasks(learner, env, "x", t, "test", 2, 0, horizon=10)
        for t in (tasks, task_batches.take(tasks, order))
    ]
    np.testing.assert_allclose(results[0].returns[:, order], results[1].returns, atol=1e-4)


def test_evaluation_leaves_the_meta_parameters_alone(tiny_run):
    learner = metarl.load(tiny_run)
    before = flatten(learner.meta_parameters).clone()
    result = metarl.evaluate(
        learner, "metarl/PointNavigation-v0", num_tasks=4, episodes=5, adaptation_steps=4
    )
    assert torch.equal(flatten(learner.meta_parameters), before)
    assert result.returns.shape == (5, 4, 5)  # more steps than in training
    assert result.env_steps == 5 * 4 * 5 * 10


def test_held_out_tasks_never_occur_in_training(tiny_run):
    learner = metarl.load(tiny_run)
    result = metarl.evaluate(learner, "metarl/PointNavigation-v0", num_tasks=200, episodes=1)
    train = gymnasium.make_vec("metarl/PointNavigation-v0").task_distribution("train")
    assert not train.contains(result.tasks).any()


def test_same_seed_same_result_and_another_seed_another(tiny_run):
    learner = metarl.load(tiny_run)
    first, again, other = (
        metarl.evaluate(learner, "metarl/PointNavigation-v0", num_tasks=3, episodes=4, seed=seed)
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first.returns, again.returns)
    assert not np.array_equal(first.returns, other.returns)


def test_json_holds_everything(tiny_run, tmp_path):
    learner = metarl.load(tiny_run)
    result = metarl.evaluate(learner, "metarl/PointNavigation-v0", num_tasks=3, episodes=4)
    result.save_json(tmp_path / "deep/out.json")
    document = json.loads((tmp_path / "deep/out.json").read_text())
    assert np.array_equal(document["returns"], result.returns)
    assert document["env"] == "metarl/PointNavigation-v0" and document["split"] == "test"
    assert document["success"] is None and document["seed"] == 0 and document["held_out"]
    assert document["env_steps"] == result.env_steps
    assert document["checkpoint"].endswith("iteration_000003")
    row = document["summary"][3]
    assert {"step", "episodes", "env_steps", "iqm", "ci_low", "ci_high", "diverged"} <= row.keys()
    assert METRICS.keys() - row.keys() == {"success"}  # which this environment does not report
    back = {k: np.array(v) for k, v in document["tasks"].items()}
    assert np.array_equal(back["goal"], result.tasks["goal"])
    plot_adaptation(result, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_tasks": 0}, "num_tasks must be positive, got 0"),
        ({"episodes": -1}, "episodes must be positive, got -1"),
        ({"horizon": 0}, "horizon must be positive, got 0"),
        ({"adaptation_steps": -1}, "must not be negative, got -1"),
        ({"split": "tset"}, "did you mean 'test'"),
        ({"env_kwargs": {"action_scale": 1.0}}, "the learner was trained with"),
    ],
)
def test_bad_input(tiny_run, kwargs, message):
    with pytest.raises(metarl.UserError, match=message):
        metarl.evaluate(metarl.load(tiny_run), "metarl/PointNavigation-v0", **kwargs)


def test_environment_of_other_sizes_is_refused(tiny_run):
    with pytest.raises(metarl.UserError, match="observations of size 20, the learner was trained"):
        metarl.evaluate(metarl.load(tiny_run), "metarl/HalfCheetahVel-v0")
    with pytest.raises(metarl.UserError, match="did you mean 'metarl/PointNavigation-v0'"):
        metarl.evaluate(metarl.load(tiny_run), "metarl/PointNavgation-v0")


def test_summary():
    tasks = {"solvable": np.zeros(2), "reward": np.ones(2)}
    rows = evaluate_stub(tasks, steps=1).summary
    assert [(row.step, row.mean, row.iqm.value) for row in rows] == [(0, 5.0, 5.0), (1, 5.0, 5.0)]


def test_table_says_whether_tasks_were_held_out():
    tasks = {"solvable": np.zeros(2), "reward": np.ones(2)}
    result = evaluate_stub(tasks)
    assert "held-out" in adaptation_table(result).title
    shared = replace(result, held_out=False)
    assert "training may have seen" in adaptation_table(shared).title


def test_tasks_that_lack_what_training_varied_are_judged_at_its_nominal_value(tmp_path):
    varied = {"payload": {"max_mass": 2.0}, "action_delay": {"max_steps": 2}}
    document = {
        "env": {"id": "metarl/HalfCheetah-v0", "kwargs": {"variations": varied}},
        "learner": {"name": "random_init"},
        "meta_batch": 2,
        "episodes": 1,
        "horizon": 3,
        "iterations": 1,
        "evaluation": {"num_tasks": 2, "episodes": 1, "adaptation_steps": 0},
    }
    metarl.train(parse_config(document), tmp_path / "run")
    learner = metarl.load(tmp_path / "run")
    few = dict(num_tasks=2, episodes=1, adaptation_steps=0)
    changed = {"variations": {"payload": {"max_mass": 2.0}}}
    for split, held_out in (("test", True), ("train", False)):
        result = metarl.evaluate(
            learner, "metarl/HalfCheetah-v0", split=split, env_kwargs=changed, **few
        )
        assert result.held_out == held_out and set(result.tasks) == {"payload_mass"}
