"""Comparisons: what is run, what is not run again, and what is refused before anything is."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import TINY
from omegaconf import OmegaConf

import metarl
from metarl.commands import compare as command
from metarl.commands.arguments import parser_of
from metarl.commands.scratch import from_scratch
from metarl.experiment.suite import load_suite

TINY_FILE = {"config": "tiny.yaml"}
CONFIGS = Path(__file__).parents[1] / "configs"


def compare(*arguments):
    parser = parser_of("compare", "metarl compare")
    command.main(parser.parse_intermixed_args([str(argument) for argument in arguments]))


@pytest.fixture
def compared(tmp_path, tiny_run):
    (tmp_path / "tiny.yaml").write_text((tiny_run / "config.yaml").read_text())
    compare(tmp_path / "tiny.yaml", "--run-dir", tmp_path / "runs", "--seeds", 0)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0", "--set", "horizon=5"], "of another config: horizon was 10, not 5"),
        (["--seeds", "0", "--set", "iterations=9"], "iterations was 3, not 9"),
        (["--seeds", "0", "0"], "seeds occur twice"),
        (["--seeds", "1", "--splits", "nosuch"], "no task split 'nosuch'"),
        (["--seeds", "1", "--report", "page.txt"], "must end in .html"),
    ],
)
def test_a_comparison_never_mixes_experiments(compared, arguments, message):
    with pytest.raises(metarl.UserError, match=message):
        compare(compared / "tiny.yaml", "--run-dir", compared / "runs", *arguments)
    assert [p.name for p in (compared / "runs/results").iterdir()] == ["tiny-seed0.json.gz"]


def test_a_comparison_evaluates_the_splits_that_are_missing(compared, capsys):
    same = [compared / "tiny.yaml", "--run-dir", compared / "runs", "--seeds", "0"]
    compare(*same, "--splits", "validation")
    assert "\nvalidation\n" in capsys.readouterr().out


@pytest.fixture
def suite(tmp_path):
    """Writes a comparison of the tiny run's method and an oracle."""
    (tmp_path / "tiny.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(TINY)))

    def write(**changes):
        document = {
            "methods": {
                "maml": {"config": "tiny.yaml"},
                "oracle": {
                    "config": "tiny.yaml",
                    "set": ["learner.name=multi_task", "env.observe_task=true"],
                },
            },
            "set": ["iterations=1"],
            "seeds": [0, 1],
            "scratch": {"num_tasks": 2, "budgets": [1]},
            **changes,
        }
        (tmp_path / "suite.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(document)))
        return tmp_path / "suite.yaml"

    return write


@pytest.mark.parametrize("finished", [True, False])
def test_runs_of_another_experiment_are_refused_before_any_is_trained(finished, suite, tmp_path):
    compare(suite(seeds=[0], scratch=None), "--run-dir", tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs/maml-seed0")
    for name in ("maml", "oracle"):
        (tmp_path / f"runs/results/{name}-seed0.json.gz").unlink()
    if not finished:
        (tmp_path / "runs/oracle-seed0/evaluation.json").unlink()
    other = ["learner.name=multi_task", "env.observe_task=true", "policy.hidden_sizes=[4]"]
    methods = {"maml": TINY_FILE, "oracle": {**TINY_FILE, "set": other}}
    with pytest.raises(metarl.UserError, match=r"another config: policy.hidden_sizes was \[8"):
        compare(suite(seeds=[0], methods=methods), "--run-dir", tmp_path / "runs")
    assert not (tmp_path / "runs/maml-seed0").exists()


@pytest.mark.slow
def test_one_file_compares_methods_and_baselines_on_one_page(suite, tmp_path, capsys):
    page = tmp_path / "page.html"
    same = [suite(), "--run-dir", tmp_path / "runs", "--report", page]
    compare(*same)
    printed = capsys.readouterr().out
    assert "| maml | 2 |" in printed and "| oracle - maml |" in printed
    assert "PPO from scratch, 30 steps per task: mean return" in printed
    text = page.read_text()
    for name in ("All seeds, test tasks", "PPO from scratch", "maml-seed0", "oracle-seed0"):
        assert name in text
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.json*")}
    assert len([path for path in times if path.name == "scratch.json"]) == 1
    compare(*same)
    assert capsys.readouterr().out == printed  # nothing is run again
    assert times == {path: path.stat().st_mtime_ns for path in times}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": {}}, "key 'methods'"),
        ({"methods": {"a": {"config": "nowhere.yaml"}}}, "no config file at"),
        ({"seed": [0]}, "key 'seed'"),
        ({"seeds": [0, 0]}, "seeds occur twice"),
        ({"seeds": []}, "key 'seeds'"),
        ({"methods": {"../evil": TINY_FILE}}, "key 'methods"),
        (
            {"methods": {"a": TINY_FILE, "b": {**TINY_FILE, "set": ["env.kwargs.x=1"]}}},
            r"the environment of the evaluation is .* for a, .*'x': 1",
        ),
        (
            {"methods": {"a": TINY_FILE, "b": {**TINY_FILE, "set": ["horizon=5"]}}},
            "horizon is 10 for a, 5 for b: a comparison is of one environment",
        ),
        ({"set": ["iterations=no"]}, "iterations"),
    ],
)
def test_bad_comparisons_run_nothing(suite, tmp_path, changes, message):
    with pytest.raises(metarl.ConfigError, match=message):
        compare(suite(**changes), "--run-dir", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_comparison_stands_alone(suite, tmp_path):
    with pytest.raises(metarl.ConfigError, match="is a comparison of its own: name it alone"):
        compare(suite(), tmp_path / "tiny.yaml", "--run-dir", tmp_path / "runs")


@pytest.mark.parametrize("path", sorted((CONFIGS / "compare").glob("*.yaml")), ids=str)
def test_shipped_comparisons_are_of_one_protocol(path):
    found = load_suite(path)
    assert len(found.configs) > 4 and (found.scratch is None) == (path.stem == "quadruped")
    seeds = (0, 1) if path.stem == "quadruped" else (0, 1, 2)
    assert {tuple(config.seed for config in same) for same in found.configs.values()} == {seeds}


def test_methods_trained_in_other_environments_are_judged_in_one():
    same = load_suite(CONFIGS / "compare/quadruped.yaml").configs
    trained = [configs[0].env.kwargs for configs in same.values()]
    assert trained[0] != trained[1]


def test_scratch_is_kept(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    first = from_scratch(tmp_path / "run", 1, [1])
    kept = json.loads((tmp_path / "run/scratch.json").read_text())
    assert list(kept.values()) == [first[0][1]]
    assert from_scratch(tmp_path / "run", 1, [1]) == first
