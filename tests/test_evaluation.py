import json

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import metarl
from metarl.evaluation import EvaluationResult, evaluate_tasks
from metarl.evaluation.statistics import (
    interquartile_interval,
    interquartile_mean,
    seed_interval,
    summarize,
)
from metarl.learners.base import MetaLearner, Spec
from metarl.params import flatten
from metarl.policies.actors import ActionStep
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
    """A learner whose state counts adaptation steps."""

    def __init__(self):
        spec = Spec(1, (-1.0,), (1.0,), 1, 5)
        super().__init__(None, None, spec, 0, torch.device("cpu"))

    def begin(self, num_tasks, episodes):
        return 0

    def act(self, state, obs_MEO, previous_actions, previous_rewards, first, noise):
        return ActionStep(np.zeros((*obs_MEO.shape[:2], 1)), np.zeros(obs_MEO.shape[:2])), state

    def adapt(self, state, rollouts):
        return state + 1

    def iterate(self, collect, tasks):
        raise AssertionError("an evaluator never trains")

    meta_parameters = property(lambda self: {})

    def load_meta_parameters(self, params):
        pass


def evaluate_stub(tasks, episodes=3, steps=2, horizon=5):
    env = SolvableGoals(len(tasks["solvable"]) * episodes, max_episode_steps=horizon)
    return evaluate_tasks(DoesNothing(), env, "stub", tasks, "test", steps, 0, horizon=horizon)


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
    assert [list(row) for row in document["summary"]] == [
        ["step", "mean", "iqm", "ci_low", "ci_high"]
    ] * 4
    back = {k: np.array(v) for k, v in document["tasks"].items()}
    assert np.array_equal(back["goal"], result.tasks["goal"])
    result.plot(tmp_path / "curve.png")
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


class TestStatistics:
    def test_interquartile_mean_by_hand(self):
        # 8 values: the lowest two and the highest two are dropped
        assert interquartile_mean(np.array([100.0, 1, 2, 3, 4, -50, 5, 6])) == (2 + 3 + 4 + 5) / 4

    def test_interval_of_constant_returns_has_no_width(self):
        assert interquartile_interval(np.full((4, 5), 2.5)) == (2.5, 2.5)
        assert interquartile_interval(np.array([[3.0]])) == (3.0, 3.0)

    def test_tasks_are_kept_in_every_resample(self):
        # each task has constant returns: resampling within tasks changes nothing
        returns = np.repeat(np.arange(6.0)[:, None], 4, axis=1)
        low, high = interquartile_interval(returns)
        assert low == high == interquartile_mean(returns.reshape(-1))

    def test_interval_covers_the_mean_of_a_known_law(self):
        rng = np.random.default_rng(0)
        hits = 0
        for _ in range(40):
            low, high = interquartile_interval(rng.normal(3.0, 1.0, (10, 10)))
            hits += low < 3.0 < high
        assert hits >= 34

    def test_one_episode_per_task_resamples_tasks(self):
        low, high = interquartile_interval(np.random.default_rng(0).normal(size=(40, 1)))
        assert low < high

    def test_seeds_are_resampled_whole(self):
        # seeds differ, tasks and episodes do not: the interval is that of the seeds' values
        values = np.repeat([0.0, 10.0, 20.0, 30.0], 6).reshape(4, 2, 3)
        low, high = seed_interval(values)
        assert low < 10.0 and high > 20.0
        assert np.isnan(seed_interval(values[:1])).all()
        assert seed_interval(np.full((3, 2, 3), 2.5)) == (2.5, 2.5)

    def test_summary(self):
        rows = summarize(np.stack([np.zeros((2, 4)), np.ones((2, 4))]))
        assert [(row.step, row.mean, row.iqm) for row in rows] == [(0, 0.0, 0.0), (1, 1.0, 1.0)]


def test_table_says_whether_tasks_were_held_out():
    tasks = {"solvable": np.zeros(2), "reward": np.ones(2)}
    result = evaluate_stub(tasks)
    assert "held-out" in result.table().title
    shared = EvaluationResult("x", "test", 0, tasks, result.returns, None, 1, held_out=False)
    assert "training also saw" in shared.table().title
