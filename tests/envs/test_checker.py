import gymnasium
import plugged  # noqa: F401
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
        ("Unbounded", "actions must be bounded"),
        ("IntegerActions", "must be a vector of real numbers"),
    ],
)
def test_finds_exactly_what_is_wrong(name, finding):
    findings = check_task_env(gymnasium.make(f"{name}-v0"))
    assert len(findings) == 1 and finding in findings[0] and "\n" not in findings[0]


def test_nothing_to_say_of_a_good_one():
    assert check_task_env(gymnasium.make("Point-v0")) == []
    assert check_task_env(gymnasium.make("DiscretePoint-v0")) == []


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
