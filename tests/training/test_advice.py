"""Warnings that a user needs: on the console and in the run folder, once each."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

import metarl
from metarl.evaluation import EvaluationResult
from metarl.experiment.checkpoint import METADATA
from metarl.experiment.config import parse_config
from metarl.training.advice import Advice


def warnings_of(document, folder, resume=False):
    console = Console(file=io.StringIO(), width=300)
    metarl.train(parse_config(document), folder, resume=resume, console=console)
    path = folder / "warnings.txt"
    lines = path.read_text().splitlines() if path.is_file() else []
    printed = console.file.getvalue()
    assert all(f"warning: {line}" in printed for line in lines[-1:])
    return lines


def test_a_sound_run_has_none(tiny_document, tmp_path):
    assert warnings_of(tiny_document, tmp_path / "run") == []


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"tasks": {"kind": "fixed", "num": 5}}, "tasks.num = 5: what is learned from fewer"),
        ({"policy": {"init_std": 1000.0}}, "% of the actions lie at or beyond their bounds"),
        ({"policy": {"init_std": 1e-5}}, "the policy hardly varies its actions any more"),
        ({"env": {"id": "plugged:Overlapping-v0", "plugin": {"num_workers": 0}}}, "belong to the"),
        (
            {
                "env": {"id": "plugged:TurnsNaN-v0", "plugin": {"num_workers": 0}},
                "evaluation": {"num_tasks": 2, "episodes": 2},
            },
            "of plugged:TurnsNaN-v0 diverged, first task goal",
        ),
    ],
)
def test_each_is_said_once(tiny_document, tmp_path, change, warning):
    document = {**tiny_document, **change}
    document["evaluation"] = {**document["evaluation"], "every": 1}
    lines = warnings_of(document, tmp_path / "run")
    assert sum(warning in line for line in lines) == 1, lines
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize("change", [-1.0, 1.0])
def test_no_gain_from_adaptation_is_said_after_three_evaluations(tmp_path, tiny_config, change):
    said = list[str]()
    advice = Advice(tmp_path, tiny_config, said.append)
    noise = np.random.default_rng(0).normal(size=(2, 10, 5))
    returns = noise + np.array([0.0, 10.0 * change]).reshape(2, 1, 1)
    lost = np.zeros(returns.shape, bool)
    behind = (np.array([0, 5]), np.zeros((2, 10)))
    rewards = np.zeros((2, 10, 1))
    result = EvaluationResult("x", "test", 0, {}, returns, lost, None, *behind, rewards, rewards, 0)
    for count in range(1, 5):
        advice.after_evaluation(result)
        assert len(said) == (change < 0 and count >= 3)


def test_another_evaluation_set_is_said(tiny_document, tmp_path):
    assert warnings_of(tiny_document, tmp_path / "run") == []
    document = {**tiny_document, "iterations": 4}
    document["evaluation"] = {**document["evaluation"], "seed": 9}
    (line,) = warnings_of(document, tmp_path / "run", resume=True)
    assert "the evaluation has other tasks than before in this run" in line


def test_other_versions_are_said(tiny_document, tmp_path):
    folder = tmp_path / "run"
    warnings_of(tiny_document, folder)
    path = folder / "checkpoints/iteration_000003" / METADATA
    document = json.loads(path.read_text())
    document["versions"]["mujoco"] = "3.9.9"
    path.write_text(json.dumps(document))
    (line,) = warnings_of({**tiny_document, "iterations": 4}, folder, resume=True)
    assert "the checkpoint was made with 3.9.9" in line
