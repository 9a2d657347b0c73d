"""Callbacks see every iteration, may end a training, and change nothing."""

import json
import math
import time

import pytest

import metarl
from metarl.errors import ConfigError
from metarl.experiment.config import parse_config
from metarl.params import flatten
from metarl.training.callbacks import Callback, KeepCheckpoint, StopOnReturn, WeightsAndBiases


class Watches(Callback):
    def __init__(self, stop_after=None):
        self.seen, self._stop_after = [], stop_after

    def on_start(self, run):
        self.seen.append(("start", run.iteration, list(run.run_dir.glob("*.csv"))))

    def on_iteration(self, run, metrics):
        self.seen.append(
            ("iteration", run.iteration, metrics["time/env_steps"] == run.cost.env_steps)
        )
        return run.iteration != self._stop_after

    def on_evaluation(self, run, result):
        self.seen.append(("evaluation", run.iteration, result.returns.shape[1]))
        return True

    def on_end(self, run, result):
        self.seen.append(("end", run.iteration, result.held_out))


def test_they_see_the_course_of_a_training(tiny_document, tmp_path):
    watches = Watches()
    tiny_document["evaluation"]["every"] = 2
    metarl.train(parse_config(tiny_document), tmp_path / "run", callbacks=[watches])
    assert watches.seen == [
        ("start", 0, []),
        ("iteration", 1, True),
        ("iteration", 2, True),
        ("evaluation", 2, 5),
        ("iteration", 3, True),
        ("end", 3, True),
    ]


def test_a_training_that_is_ended_is_whole_and_goes_on(tiny_document, tmp_path):
    config = parse_config(tiny_document)
    result = metarl.train(config, tmp_path / "run", callbacks=[Watches(1), Watches()])
    assert (tmp_path / "run/checkpoints/iteration_000001").is_dir()
    stored = json.loads((tmp_path / "run/evaluation.json").read_text())
    assert stored["returns"] == result.returns.tolist()
    again = metarl.train(config, tmp_path / "run", resume=True)
    whole = metarl.train(config, tmp_path / "whole")
    assert (again.returns == whole.returns).all()
    first, second = (metarl.load(tmp_path / name) for name in ("run", "whole"))
    assert flatten(first.meta_parameters).equal(flatten(second.meta_parameters))


@pytest.mark.parametrize(("value", "iterations", "last"), [(-math.inf, 2, 2), (math.inf, 1, 3)])
def test_stop_on_return(tiny_document, tmp_path, value, iterations, last):
    watches = Watches()
    stop = StopOnReturn(value, iterations)
    metarl.train(parse_config(tiny_document), tmp_path / "run", callbacks=[stop, watches])
    assert watches.seen[-1][1] == last


def test_one_that_says_nothing_ends_nothing(tiny_document, tmp_path):
    seen = []

    class Silent(Callback):
        def on_iteration(self, run, metrics):
            seen.append(run.iteration)

    metarl.train(parse_config(tiny_document), tmp_path / "run", callbacks=[Silent()])
    assert seen == [1, 2, 3]


def test_checkpoints_that_stay(tiny_document, tmp_path):
    tiny_document["checkpoint"] = {"keep": 1}
    keep = KeepCheckpoint(tmp_path / "kept", 1)
    metarl.train(parse_config(tiny_document), tmp_path / "run", callbacks=[keep])
    assert len(list((tmp_path / "run/checkpoints").iterdir())) == 1
    assert len(list((tmp_path / "kept").iterdir())) == 3
    metarl.load(tmp_path / "kept/iteration_000002")


def test_bad_numbers(tmp_path):
    for make in (lambda: StopOnReturn(0.0, 0), lambda: KeepCheckpoint(tmp_path, 0)):
        with pytest.raises(ConfigError, match="must be positive, got 0"):
            make()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of wandb
def test_weights_and_biases_are_told(tiny_document, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    metarl.train(parse_config(tiny_document), tmp_path / "run", callbacks=[WeightsAndBiases("x")])
    files = list((tmp_path / "run").rglob("*.wandb"))
    assert len(files) == 1
    wanted, content = (b"meta_batch", b"held_out/iqm_step_1"), b""
    for _ in range(300):  # a process of its own writes it, when it comes to it
        content = files[0].read_bytes()
        if all(text in content for text in wanted):
            break
        time.sleep(0.1)
    assert all(text in content for text in wanted)


def test_results_show_themselves(tiny_run):
    learner = metarl.load(tiny_run)
    result = metarl.evaluate(learner, learner.trained_on.env, num_tasks=3, episodes=2)
    page = result._repr_html_()
    assert page.count("<tr>") == 5 and "PointNavigation-v0, 3 tasks (test)" in page
    lines = str(result).splitlines()
    assert lines[0] == "metarl/PointNavigation-v0, 3 tasks (test)" and len(lines) == 5
    assert lines[1].startswith("  step 0, 0 episodes: IQM -") and len(max(lines, key=len)) < 100
    figure = result.plot()
    assert len(figure.axes[0].lines) >= 4 and figure.axes[0].get_title() == result.title
