"""Meta-World and gymnasium-robotics through our interface, beside their own."""

import warnings

import gymnasium
import numpy as np
import pytest

import metarl
from metarl.environments.config import EnvConfig
from metarl.environments.make import make_single
from metarl.experiment.config import parse_config
from metarl.reports.video import drawn
from metarl_envs.checker import check_task_env
from metarl_envs.errors import EnvironmentConfigError

pytestmark = pytest.mark.filterwarnings("ignore")

EXPERTS = {
    "reach-v3": "SawyerReachV3Policy",
    "push-v3": "SawyerPushV3Policy",
    "pick-place-v3": "SawyerPickPlaceV3Policy",
}
GOALS, STEPS = 5, 200


@pytest.fixture
def metaworld():
    return pytest.importorskip("metaworld")


def episode(env, expert, seed):
    obs, _ = env.reset(seed=seed)
    total, success = 0.0, False
    for _ in range(STEPS):
        action = np.clip(expert.get_action(obs), -1, 1)
        obs, reward, terminated, _, info = env.step(action)
        total, success = total + reward, success or bool(info["success"])
        assert not terminated
    return total, success


@pytest.mark.slow
@pytest.mark.parametrize("name", list(EXPERTS))
def test_shipped_experts_do_as_well_through_our_wrapper(metaworld, name):
    from metaworld import policies

    expert_class = getattr(policies, EXPERTS[name])
    ours = gymnasium.make("metarl/MetaWorld-v0", name=name, seed=1).unwrapped
    suite = metaworld.ML1(name, seed=1)
    theirs = suite.train_classes[name]()
    results = {"ours": [], "theirs": []}
    for goal in range(GOALS):
        ours.set_task({"task": goal})
        theirs.set_task(suite.train_tasks[goal])
        # the shipped experts need to see the goal, which both hide from learners
        ours.env._partially_observable = theirs._partially_observable = False
        results["ours"].append(episode(ours, expert_class(), goal))
        results["theirs"].append(episode(theirs, expert_class(), goal))
    returns, success = (np.array([[r[i] for r in results[k]] for k in results]) for i in (0, 1))
    assert success[0].sum() == success[1].sum() >= GOALS - 1
    np.testing.assert_allclose(returns[0], returns[1], rtol=0.01)


def test_splits_and_hidden_goals(metaworld):
    env = gymnasium.make("metarl/MetaWorld-v0", name="reach-v3").unwrapped
    train, test = (env.task_distribution(s).tasks["task"] for s in ("train", "test"))
    assert len(train) == len(test) == 50 and not set(train) & set(test)
    vectors = []
    for index in (*train, *test):
        env.set_task({"task": index})
        obs, _ = env.reset(seed=0)
        assert (obs[-3:] == 0).all()
        vectors.append(env.env._last_rand_vec.copy())
    assert len(np.unique(np.round(vectors, 9), axis=0)) == 100


@pytest.mark.slow
@pytest.mark.parametrize(("benchmark", "train", "test"), [("ML10", 10, 5), ("ML25", 25, 4)])
def test_families_are_kept_apart(metaworld, benchmark, train, test):
    env = gymnasium.make("metarl/MetaWorld-v0", benchmark=benchmark).unwrapped
    families = {
        split: {env.tasks[i].env_name for i in env.task_distribution(split).tasks["task"]}
        for split in ("train", "test")
    }
    assert len(families["train"]) == train and len(families["test"]) == test
    assert not families["train"] & families["test"]
    for index in (0, 60, 50 * train + 10):
        env.set_task({"task": index})
        obs, _ = env.reset(seed=0)
        assert obs.shape == (39,) and "success" in env.step(env.action_space.sample())[4]


def test_bad_arguments(metaworld):
    with pytest.raises(EnvironmentConfigError, match="benchmark must be one of"):
        gymnasium.make("metarl/MetaWorld-v0", benchmark="ML2")
    with pytest.raises(EnvironmentConfigError, match="no task family 'reech-v3'"):
        gymnasium.make("metarl/MetaWorld-v0", name="reech-v3")


def train_tiny(env, folder):
    config = parse_config(
        {
            "env": env,
            "learner": {"name": "maml"},
            "policy": {"hidden_sizes": [8]},
            "meta_batch": 2,
            "episodes": 5,
            "horizon": 20,
            "iterations": 1,
            "evaluation": {"num_tasks": 2, "episodes": 2, "adaptation_steps": 1},
        }
    )
    return metarl.train(config, folder)


@pytest.mark.slow
def test_trains_on_meta_world_and_counts_success_per_task_and_episode(metaworld, tmp_path):
    result = train_tiny({"id": "metarl/MetaWorld-v0"}, tmp_path / "run")
    assert result.success.shape == result.returns.shape == (2, 2, 2)
    assert (result.tasks["task"] >= 50).all()


def pictures_of(env_id):
    env = make_single(EnvConfig(id=env_id), None, 20, "rgb_array")
    env.reset(seed=0)
    first = drawn(env)
    for _ in range(10):
        env.step(np.full(4, 0.9))
    assert first.ndim == 3 and not np.array_equal(first, drawn(env))
    env.close()


def test_meta_world_draws_pictures(metaworld):
    pictures_of("metarl/MetaWorld-v0")


class TestFetch:
    @pytest.fixture(autouse=True)
    def _needs_robotics(self):
        pytest.importorskip("gymnasium_robotics")

    @pytest.mark.parametrize("name", ["FetchReach", "FetchPush", "FetchSlide", "FetchPickAndPlace"])
    def test_goal_is_the_task_and_hidden(self, name):
        env = gymnasium.make("metarl/Fetch-v0", name=name).unwrapped
        observations, goals = [], []
        for offset in ([0.1, 0.05, 0.1], [-0.1, 0.1, -0.1]):
            env.set_task({"goal_offset": offset})
            observations.append(env.reset(seed=0)[0])
            goals.append(env.env.goal.copy())
            obs, reward, terminated, _, info = env.step(np.zeros(4))
            achieved = env.env._get_obs()["achieved_goal"]
            assert reward == pytest.approx(-np.linalg.norm(achieved - goals[-1]))
            assert "is_success" in info and not terminated
        assert np.array_equal(*observations) and not np.allclose(*goals)
        assert obs.shape == ((10,) if name == "FetchReach" else (25,))

    def test_passes_the_checker(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            findings = check_task_env(gymnasium.make("metarl/Fetch-v0"))
        # its simulator holds a renderer, which cannot be pickled; workers make their own
        assert [finding for finding in findings if "pickled" not in finding] == []

    def test_draws_pictures(self):
        pictures_of("metarl/Fetch-v0")

    @pytest.mark.slow
    def test_trains(self, tmp_path):
        result = train_tiny({"id": "metarl/Fetch-v0"}, tmp_path / "run")
        assert result.success is not None and result.returns.shape == (2, 2, 2)
