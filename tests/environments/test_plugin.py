"""Environments that somebody else wrote: trained on, evaluated, and refused where they must be."""

import gymnasium
import numpy as np
import plugged
import pytest

import metarl
from metarl.environments.config import EnvConfig, PluginConfig
from metarl.environments.fit import spec_of_spaces
from metarl.environments.make import make_env
from metarl.experiment.config import parse_config
from metarl_envs.errors import EnvironmentConfigError

TASKS = {"goal": {"low": -1.0, "high": 1.0}}


def make(env_id, num_envs=4, horizon=20, kwargs=None, **plugin):
    config = {"id": env_id, "kwargs": kwargs or {}, "plugin": plugin or None}
    return make_env(EnvConfig.model_validate(config), num_envs, horizon)


@pytest.fixture
def slider(tmp_path):
    path = tmp_path / "slider.xml"
    path.write_text(plugged.SLIDER)
    return {"xml_file": str(path)}


def configs(slider):
    fields = [{"field": "body_mass", "low": 0.5, "high": 2.0, "log": True, "names": ["pole"]}]
    return {
        "set_task": {"id": "plugged:Point-v0", "plugin": {"num_workers": 2}},
        "apply": {
            "id": "plugged:Plain-v0",
            "plugin": {"num_workers": 2, "apply": "plugged:apply_goal", "tasks": TASKS},
        },
        "yaml only": {
            "id": "InvertedPendulum-v5",
            "plugin": {"num_workers": 2, "vary_fields": fields},
        },
        "mjcf": {"id": "plugged:plugged/Slider-v0", "kwargs": slider},
        "discrete": {"id": "plugged:DiscretePoint-v0"},
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["set_task", "apply", "yaml only", "mjcf", "discrete"])
def test_trains_and_evaluates(kind, slider, tmp_path):
    config = parse_config(
        {
            "env": configs(slider)[kind],
            "learner": {"name": "maml"},
            "policy": {"hidden_sizes": [8]},
            "meta_batch": 3,
            "episodes": 4,
            "horizon": 15,
            "iterations": 2,
            "evaluation": {"num_tasks": 3, "episodes": 2, "adaptation_steps": 1},
        }
    )
    result = metarl.train(config, tmp_path / "run")
    assert result.returns.shape == (2, 3, 2) and np.isfinite(result.returns).all()
    assert (result.success is not None) == (kind in ("set_task", "apply", "discrete"))
    learner = metarl.load(tmp_path / "run")
    again = metarl.evaluate(learner, config.env.id, num_tasks=3, episodes=2, adaptation_steps=1)
    assert np.array_equal(again.returns, result.returns)


@pytest.mark.parametrize("start_method", ["spawn", "fork"])
def test_workers_change_nothing(start_method):
    episodes = []
    for workers in (0, 1, 3):
        env = make("plugged:Point-v0", num_workers=workers, start_method=start_method)
        env.set_tasks({"goal": np.linspace(-1, 1, 4)})
        rng = np.random.default_rng(0)
        parts = [env.reset(seed=3)[0]]
        for _ in range(5):
            parts += env.step(rng.uniform(-1, 1, (4, 1)))[:2]
        episodes.append(parts)
        env.close()
    assert all(np.array_equal(a, b) for a, b in zip(*episodes[:2], strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(*episodes[1:], strict=True))
    assert len(np.unique(episodes[0][0])) == 4  # every sub-environment has its own seed


def test_equals_the_environment_itself():
    env = make("plugged:Point-v0", num_envs=2)
    env.set_tasks({"goal": np.array([0.5, -0.5])})
    obs, _ = env.reset(seed=[7, 8])
    alone = plugged.Point()
    alone.set_task({"goal": -0.5})
    seed = int(np.random.Generator(np.random.PCG64(8)).integers(2**31))
    assert alone.reset(seed=seed)[0] == pytest.approx(obs[1])
    for action in (0.3, -2.0, 1.0):
        ours = env.step(np.full((2, 1), action))
        theirs = alone.step([np.clip(action, -1, 1)])
        assert ours[0][1] == pytest.approx(theirs[0]) and ours[1][1] == pytest.approx(theirs[1])
    env.close()


def test_own_time_limit_and_ours():
    env = make("plugged:Point-v0", num_envs=2, horizon=None)
    env.reset(seed=0)
    for t in range(25):
        _, _, terminated, truncated, _ = env.step(np.zeros((2, 1)))
        assert truncated.all() == (t == 24) and not terminated.any()
    env.close()


def test_goal_keys_are_dropped_and_dicts_flattened():
    whole = make("plugged:DictPoint-v0")
    hidden = make("plugged:DictPoint-v0", drop_keys=["desired_goal"])
    assert whole.single_observation_space.shape == (2,)
    assert hidden.single_observation_space.shape == (1,)
    for env in (whole, hidden):
        env.set_tasks({"goal": np.linspace(-1, 1, 4)})
        obs, _ = env.reset(seed=0)
        assert (np.abs(obs).max() > 0.5) == (env is whole)
        env.close()


def test_discrete_actions_get_a_categorical_policy():
    env = make("plugged:DiscretePoint-v0")
    spec = spec_of_spaces(env.single_observation_space, env.single_action_space)
    assert spec.num_actions == 3 and spec.action_size == 1
    env.reset(seed=0)
    before = env.step(np.full((4, 1), 1.0))[0]
    after = env.step(np.full((4, 1), 2.0))[0]
    np.testing.assert_allclose(after - before, 0.2, atol=1e-6)
    env.close()


def test_model_fields_scale_and_set():
    fields = [
        {"field": "body_mass", "low": 0.5, "high": 2.0, "names": ["pole"]},
        {"field": "geom_friction", "low": 0.1, "high": 2.0, "mode": "absolute"},
    ]
    env = make("InvertedPendulum-v5", num_envs=2, num_workers=1, vary_fields=fields)
    shapes = {key: space.shape for key, space in env.task_space.items()}
    assert shapes["body_mass_scale"] == (1,) and len(shapes["geom_friction"]) == 1
    nominal = gymnasium.make("InvertedPendulum-v5").unwrapped
    from metarl_envs.gymnasium_envs.model_fields import FieldRange, ModelFields

    single = gymnasium.make("InvertedPendulum-v5")
    model = single.unwrapped.model
    fields_of = ModelFields([FieldRange(**field) for field in fields], single)
    friction = np.full(shapes["geom_friction"], 0.7)
    for _ in range(2):  # twice = once
        fields_of.apply({"body_mass_scale": np.array([2.0]), "geom_friction": friction})
    pole = model.body("pole").id
    assert model.body_mass[pole] == 2.0 * nominal.model.body_mass[pole]
    np.testing.assert_array_equal(model.body_inertia[pole], 2.0 * nominal.model.body_inertia[pole])
    assert (model.geom_friction[:, 0] == 0.7).all()
    assert model.body_subtreemass[0] > nominal.model.body_subtreemass[0]  # mj_setConst ran
    assert not np.array_equal(model.dof_invweight0, nominal.model.dof_invweight0)
    env.close()


@pytest.mark.parametrize(
    ("env_id", "plugin", "message"),
    [
        ("plugged:Unbounded-v0", {}, "actions must be bounded"),
        ("plugged:IntegerActions-v0", {}, "must be a vector of real numbers"),
        ("plugged:Plain-v0", {"tasks": TASKS}, "has no set_task"),
        ("Pendulum-v1", {"apply": "plugged:apply_goal"}, "does not say what its tasks are"),
        ("plugged:Plain-v0", {"apply": "plugged:nothing", "tasks": TASKS}, "module:function"),
        ("plugged:Point-v0", {"drop_keys": ["goal"]}, "needs a Dict observation"),
        ("plugged:DictPoint-v0", {"drop_keys": ["gaol"]}, "the observation has"),
        ("plugged:Point-v0", {"tasks": {"goal": {"low": 1.0, "high": 0.0}}}, "must increase"),
        (
            "Hopper-v5",
            {"vary_fields": [{"field": "body_mas", "low": 0.5, "high": 2.0}]},
            "did you mean 'body_mass'",
        ),
        (
            "Hopper-v5",
            {"vary_fields": [{"field": "body_mass", "low": 1, "high": 2, "names": ["arm"]}]},
            "no body 'arm'",
        ),
        (
            "plugged:Point-v0",
            {"vary_fields": [{"field": "body_mass", "low": 1, "high": 2}]},
            "needs a MuJoCo environment",
        ),
    ],
)
def test_environments_that_cannot_serve_are_refused(env_id, plugin, message):
    with pytest.raises(EnvironmentConfigError, match=message):
        make(env_id, **{"num_workers": 1, **plugin})


def test_success_is_reported_under_the_name_that_the_environment_gives_it():
    env = make("plugged:Point-v0")
    env.reset(seed=0)
    info = env.step(np.zeros((4, 1)))[4]
    assert "is_success" in info and "success" not in info
    env.close()


def test_wrappers_are_put_around_each_environment():
    wrappers = [
        {"name": "gymnasium.wrappers:RescaleAction", "kwargs": {"min_action": -2, "max_action": 2}},
        {"name": "plugged_wrappers:Halved"},
    ]
    env = make("plugged:Point-v0", num_workers=2, wrappers=wrappers)
    assert env.single_action_space.high == 2.0
    plain = make("plugged:Point-v0", num_workers=0)
    for each in (env, plain):
        each.set_tasks({"goal": np.full(4, 0.5)})
        each.reset(seed=[1, 2, 3, 4])
    halved = env.step(np.full((4, 1), 2.0))
    whole = plain.step(np.full((4, 1), 1.0))
    np.testing.assert_allclose(halved[0], whole[0])
    np.testing.assert_allclose(halved[1], 0.5 * whole[1])
    env.close()
    plain.close()
    for name, message in (
        ("gymnasium.wrappers:Nothing", "cannot be put around the environment"),
        ("math:sqrt", "it is no gymnasium.Wrapper"),
        ("gymnasium.wrappers:RescaleAction", "missing 2 required positional arguments"),
    ):
        with pytest.raises(EnvironmentConfigError, match=message):
            make("plugged:Point-v0", num_workers=0, wrappers=[{"name": name}])


def test_a_function_stands_for_its_name():
    plugin = PluginConfig(apply=plugged.apply_goal, tasks=TASKS)
    assert plugin.apply == "plugged:apply_goal"
    with pytest.raises(ValueError, match="must be a function of a module"):
        PluginConfig(apply=lambda env, task: None, tasks=TASKS)


def test_uniform_and_logarithmic_ranges_together():
    tasks = {"goal": {"low": -1.0, "high": 1.0}, "mass": {"low": 0.1, "high": 10.0, "log": True}}
    env = make("plugged:Plain-v0", num_workers=0, apply="plugged:apply_goal", tasks=tasks)
    drawn = env.task_distribution("train").sample(500, 0)
    assert abs(np.median(drawn["goal"])) < 0.15 and 0.7 < np.median(drawn["mass"]) < 1.4
    test = env.task_distribution("test").sample(50, 0)
    assert not env.task_distribution("train").contains(test).any()
    beyond = env.task_distribution("extrapolation").sample(50, 0)
    assert (np.abs(beyond["goal"]) > 1.0).all()
    assert ((beyond["mass"] < 0.1) | (beyond["mass"] > 10.0)).all()
    env.close()
