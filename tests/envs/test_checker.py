import gymnasium
import plugged  # noqa: F401
import plugged_faults  # noqa: F401
import pytest

import metarl_envs
from metarl.environments.config import EnvConfig
from metarl.environments.make import check_env
from metarl_envs.checker import check_task_env


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("IgnoresTask", "tasks have no effect"),
        ("ForgetsTaskAtReset", "the task is lost at reset"),
        ("IgnoresSeed", "the same seed and actions give different episodes"),
        ("NotPicklable", "cannot be pickled"),
        ("Overlapping", "train and test overlap: 500 of 500"),
        ("Leaks", "the observation reveals the task: elements [1]"),
        ("DictPoint", "the observation reveals the task: elements [0]"),
        ("ArrayReward", "the reward has shape (1,); return one number"),
        ("OldApi", "got 4): return observation, reward, terminated, truncated, info"),
        ("WrongShape", "an observation has 2 numbers, observation_space 1"),
        ("TurnsNaN", "observation or reward is not finite after 1 steps of task {'goal':"),
        ("Failing", "step raises RuntimeError (plugged_faults.py, line"),
        ("Unbounded", "actions must be bounded"),
        ("IntegerActions", "must be a vector of real numbers"),
    ],
)
def test_finds_exactly_what_is_wrong(name, finding):
    findings = check_task_env(gymnasium.make(f"{name}-v0", disable_env_checker=True))
    assert len(findings) == 1 and finding in findings[0] and "\n" not in findings[0]


def test_nothing_to_say_of_a_good_one():
    assert check_task_env(gymnasium.make("Point-v0")) == []
    assert check_task_env(gymnasium.make("DiscretePoint-v0")) == []
    assert check_task_env(gymnasium.make("Settles-v0")) == []


def test_pickling_is_checked_where_it_cannot_hurt():
    env = gymnasium.make("ClosesTheOriginal-v0")
    assert check_task_env(env) == []
    env.reset(seed=0)
    env.step(env.action_space.sample())


TASKS = {"goal": {"low": -1.0, "high": 1.0}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "finding"),
    [
        ({"id": "plugged_faults:Hanging-v0"}, "step does not end within 5 s"),
        ({"id": "plugged_faults:Crashing-v0"}, "the process died (exit code -6) in: step"),
        (
            {
                "id": "plugged:Plain-v0",
                "plugin": {"apply": "plugged_faults:apply_wrong_key", "tasks": TASKS},
            },
            "raises KeyError (plugged_faults.py, line",
        ),
        (
            {
                "id": "Hopper-v5",
                "plugin": {
                    "apply": "plugged_faults:apply_negative_mass",
                    "tasks": {"mass": {"low": 1.0, "high": 2.0}},
                },
            },
            "gives body 1 a mass of -",
        ),
        (
            {"id": "Hopper-v5", "kwargs": {"xml_file": "{broken}"}, "plugin": {"vary_fields": []}},
            "making the environment raises ValueError: XML parse error",
        ),
        ({"id": "Hopper-v5", "kwargs": {"nothing": 1}}, "making the environment raises TypeError"),
    ],
)
def test_faults_that_would_take_the_checker_with_them(tmp_path, config, finding):
    broken = tmp_path / "broken.xml"
    broken.write_text("<mujoco><worldbody><geom></worldbody></mujoco>")
    kwargs = {k: str(broken) if v == "{broken}" else v for k, v in config.get("kwargs", {}).items()}
    findings = check_env(EnvConfig.model_validate({**config, "kwargs": kwargs}), timeout_s=5.0)
    assert len(findings) == 1 and finding in findings[0], findings


def test_missing_time_limit():
    findings = check_task_env(gymnasium.make("Point-v0").unwrapped.__class__())
    assert len(findings) == 1 and "no time limit" in findings[0]


@pytest.mark.parametrize("env_id", list(metarl_envs.ENVIRONMENTS))
def test_own_environments_pass(env_id):
    findings = check_task_env(gymnasium.make(env_id))
    if "Sparse" in env_id:  # rewards are silent under a few random actions
        findings = [f for f in findings if "no effect" not in f]
    assert findings == []


def test_plugged_environments_are_checked_with_their_config():
    plugin = {
        "vary_fields": [{"field": "body_mass", "low": 0.5, "high": 2.0, "log": True}],
    }
    config = EnvConfig.model_validate({"id": "Hopper-v5", "plugin": plugin})
    assert check_env(config) == []
    hidden = {"id": "plugged:DictPoint-v0", "plugin": {"drop_keys": ["desired_goal"]}}
    assert check_env(EnvConfig.model_validate(hidden)) == []
