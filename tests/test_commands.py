"""The console command, its help, and what it lists."""

import importlib
import shlex
import subprocess
import sys

import pytest

import metarl
from metarl.commands import console, console_parser
from metarl.commands.arguments import COMMANDS, parser_of
from metarl.experiment.config import ExperimentConfig
from metarl.experiment.config_reference import keys_of
from metarl.learners import LEARNERS


def called(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["metarl", *arguments])
    try:
        console()
        status = 0
    except SystemExit as end:
        status = end.code
    return status, capsys.readouterr()


def test_help_needs_no_torch():
    program = (
        "import sys; sys.modules['torch'] = None; from metarl.commands import console; console()"
    )
    for arguments in (["--help"], ["train", "--help"], ["report", "--help"]):
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True)
        assert done.returncode == 0, done.stderr
        assert b"metarl" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_taken(name):
    for example in COMMANDS[name].examples:
        typed = shlex.split(example.partition("#")[0].partition(">")[0])
        parser_of(name, "metarl").parse_intermixed_args(typed)
    assert callable(importlib.import_module(f"metarl.commands.{name}").main)
    assert name in console_parser().format_help()


def test_a_wrong_command(monkeypatch, capsys):
    status, out = called(monkeypatch, capsys, "trian")
    assert status == 2 and "invalid choice: 'trian'" in out.err


def test_learners_and_environments_are_listed(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    status, out = called(monkeypatch, capsys, "learners")
    assert status == 0 and all(name in out.out for name in LEARNERS)
    status, out = called(monkeypatch, capsys, "learners", "rl2")
    assert "learner.bptt_steps" in out.out and "policy.init_std" in out.out
    status, out = called(monkeypatch, capsys, "learners", "rl3")
    assert status == 2 and "did you mean 'rl2'?" in out.err
    status, out = called(monkeypatch, capsys, "envs")
    assert "metarl/AntDir-v0" in out.out
    status, out = called(monkeypatch, capsys, "envs", "metarl/PointNavigation-v0")
    assert "task_space: Dict('goal'" in out.out and "extrapolation" in out.out


def test_completion_knows_commands_and_options(monkeypatch, capsys):
    _, out = called(monkeypatch, capsys, "completion", "bash")
    assert "record_demonstrations" in out.out and "--adaptation-steps" in out.out


def test_every_key_has_a_meaning():
    for learner in LEARNERS.values():
        for model in (ExperimentConfig, learner.Config, learner.PolicyConfig):
            for key in keys_of(model):
                open_section = key.name in ("learner", "policy")
                assert key.meaning or open_section, f"{model.__name__}: {key.name}"


def test_the_reference_is_that_of_the_models(monkeypatch):
    monkeypatch.syspath_prepend("scripts")
    module = importlib.import_module("config_reference")
    assert module.PAGE.read_text() == module.page()
    sys.modules.pop("config_reference")


def test_defaults_of_the_reference_are_those_of_a_config():
    shown = {key.name: key.default for key in keys_of(LEARNERS["maml"].Config, "learner.")}
    config = metarl.load_config(
        "configs/point_navigation/maml_trpo.yaml", ["~learner", "learner.name=maml"]
    )
    assert shown["learner.task_chunk"] == str(config.learner.task_chunk)
    assert shown["learner.inner.step_sizes"] == str(list(config.learner.inner.step_sizes))


def test_what_is_public_is_there():
    for name in metarl.__all__:
        assert getattr(metarl, name) is not None and name in dir(metarl)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        metarl.nothing  # noqa: B018


def test_importing_it_loads_no_torch():
    program = "import metarl, sys; assert not {'torch', 'mujoco'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_other_files_of_a_folder_are_nobodys_word(tmp_path):
    """Libraries look for optional modules; none of them is taken from where one happens to be."""
    for name in ("dill", "cffi", "pandas", "mine"):
        (tmp_path / f"{name}.py").write_text(f"print('executed {name}')")
    program = "from metarl.commands import console; console()"
    arguments = ["evaluate", "zoo:point_navigation/rl2", "--num-tasks", "2", "--episodes", "2"]
    command = [sys.executable, "-P", "-c", program, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "executed" not in done.stdout
