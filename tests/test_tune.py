"""The search: on validation tasks, resumable, one sentence for a mistake."""

import pytest
from omegaconf import OmegaConf
from running_scripts import POINT, TINY, run

ONE_STEP = "evaluation.adaptation_steps=1"


def tune(folder, *arguments):
    return run("tune.py", POINT, *TINY, ONE_STEP, "--run-dir", folder, *arguments)


@pytest.mark.slow
def test_a_search_goes_on_and_never_sees_held_out_tasks(tmp_path):
    search = ["--search", "learner.outer.max_kl=0.001:0.1:log", "policy.init_std=0.5,1.0"]
    done = tune(tmp_path, *search, "--trials", 2)
    assert done.returncode == 0 and "2 configurations tried; best: {" in done.stdout, done.stderr
    done = tune(tmp_path, *search, "--trials", 3)
    assert "3 configurations tried" in done.stdout and "trial 2: -" in done.stdout
    runs = list(tmp_path.glob("*/config.yaml"))
    assert len(runs) == 3
    assert {OmegaConf.load(run).evaluation.split for run in runs} == {"validation"}
    assert len({OmegaConf.load(run).learner.outer.max_kl for run in runs}) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("policy.init_std=1:0.5", "must be key=low:high, key=low:high:log or key=a,b,c"),
        ("policy.init_std=0:1:log", "a log range is positive"),
        ("policy.init_std=1", "must be key=low:high"),
        ("policy.init_sd=1,2", "did you mean 'init_std'"),
    ],
)
def test_mistakes_are_a_sentence(tmp_path, search, message):
    done = tune(tmp_path / "run", "--search", search, "--trials", 1)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
