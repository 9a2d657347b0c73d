"""The environment of a learner's training, for those who use the learner."""

import numpy as np
import pytest
from conftest import TINY

import metarl
from metarl.environments.config import EnvConfig
from metarl.errors import ConfigError, UserError
from metarl.experiment.config import parse_config

ENVIRONMENTS = {
    "native": TINY["env"],
    "dict": {"id": "plugged:DictPoint-v0", "plugin": {"drop_keys": ["desired_goal"]}},
    "observed task": {"id": "plugged:Point-v0", "observe_task": True},
}


@pytest.fixture(params=list(ENVIRONMENTS), scope="module")
def learner(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "x"
    document = {**TINY, "env": ENVIRONMENTS[request.param], "iterations": 1}
    metarl.train(parse_config(document), folder)
    return metarl.load(folder)


def task_of(learner):
    with_tasks = metarl.make_env(learner)
    sampled = with_tasks.task_distribution("test").sample(1, 0)
    with_tasks.close()
    return {key: values[0] for key, values in sampled.items()}


def test_it_adapts_and_acts_where_it_was_trained(learner):
    task = task_of(learner)
    env = metarl.make_env(learner, task)
    policy = metarl.adapt(learner, env, episodes=3)
    obs, _ = env.reset(seed=1)
    action, _ = policy.predict(obs, deterministic=True)
    assert env.action_space.contains(action.astype(np.float32))
    batch = metarl.make_env(learner, task, num_envs=3)
    np.testing.assert_array_equal(batch.reset(seed=[1, 1, 1])[0], np.tile(obs, (3, 1)))
    for key, value in task.items():
        np.testing.assert_array_equal(batch.tasks[key], np.stack([value] * 3))
    ends = [env.step(action)[3] for _ in range(10)]
    assert ends == [False] * 9 + [True]  # the horizon of training
    batch.close()
    env.close()


def test_chosen_tasks_are_evaluated(learner):
    tasks = {key: np.stack([value, value]) for key, value in task_of(learner).items()}
    sizes = {"episodes": 3, "adaptation_steps": 1}
    chosen = metarl.evaluate(learner, learner.trained_on.env, tasks=tasks, **sizes)
    assert chosen.split == "chosen" and chosen.held_out
    assert chosen.returns.shape == (2, 2, 3)
    assert chosen.tasks.keys() == tasks.keys()
    by_id = metarl.evaluate(learner, learner.trained_on.env.id, tasks=tasks, **sizes)
    np.testing.assert_array_equal(chosen.returns, by_id.returns)


def test_another_environment_of_ones_own(tiny_run):
    learner = metarl.load(tiny_run)
    flat = EnvConfig(id="metarl/PointNavigation-v0", kwargs={"reward": "sparse"})
    config = flat.model_copy(update={"kwargs": {**flat.kwargs, "action_scale": 10.0}})
    result = metarl.evaluate(learner, config, num_tasks=2, episodes=2, adaptation_steps=0)
    assert (result.returns >= 0).all() and result.success is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 2, "render_mode": "human"}, "render_mode is for one"),
        ({"num_envs": 0}, "num_envs must be positive"),
        ({"horizon": 0}, "horizon must be positive"),
        ({"task": {"gaol": [0, 0]}}, "unknown task key 'gaol'.*did you mean 'goal'"),
    ],
)
def test_mistakes(tiny_run, options, message):
    with pytest.raises(UserError, match=message):
        metarl.make_env(metarl.load(tiny_run), **options)


@pytest.mark.parametrize(
    "tasks",
    [
        {},
        {"goal": 1.0},
        {"goal": []},
        {"goal": [[9.0, 9.0, 9.0]]},
        {"goal": [[0.1], [0.1, 0.2]]},
        [{"goal": [0.1, 0.2]}],
        {"goal": ["here"]},
    ],
)
def test_no_tasks(tiny_run, tasks):
    with pytest.raises(UserError, match="task"):
        metarl.evaluate(metarl.load(tiny_run), "metarl/PointNavigation-v0", tasks=tasks)


def test_a_learner_built_by_hand_knows_none(tiny_run):
    learner = metarl.load(tiny_run)
    learner.trained_on = None
    with pytest.raises(ConfigError, match="load it from a checkpoint"):
        metarl.make_env(learner)
