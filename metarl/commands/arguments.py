"""What each command takes, and how it is called: nothing here loads torch, so that help is quick.

A new command is one entry of `COMMANDS`, and a module of its name with `main(arguments)`.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_LEARNER = "run folder, checkpoint folder or zoo:ENV/METHOD"


class Command(NamedTuple):
    """A command.

    Attributes:
        summary: one line.
        examples: as typed behind `metarl`.
        add: gives a parser its arguments.
        more: what else there is to know.
    """

    summary: str
    examples: tuple[str, ...]
    add: Callable[[argparse.ArgumentParser], None]
    more: str = ""


def parser_of(name: str, prog: str) -> argparse.ArgumentParser:
    """The parser of a command, its examples below its help."""
    command = COMMANDS[name]
    shown = "\n".join(f"  {prog} {example}" for example in command.examples)
    parser = argparse.ArgumentParser(
        prog=prog,
        description=f"{command.summary}\n\n{command.more}".strip(),
        epilog=f"examples:\n{shown}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _allow_imports(parser: argparse.ArgumentParser) -> None:
    """The option with which a user trusts the modules that a checkpoint names."""
    parser.add_argument(
        "--allow-import",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module that the checkpoint's config may import",
    )


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", nargs="?", help="YAML file, see configs/; to resume, the run's own"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. learner.name=maml")
    parser.add_argument("--run-dir", type=Path, help="default: runs/ENV-METHOD-seedN-TIME")
    parser.add_argument("--resume", action="store_true", help="go on from RUN_DIR's checkpoint")
    parser.add_argument("--wandb", metavar="PROJECT", help="show it on Weights & Biases as well")
    _allow_imports(parser)


def _train_ray(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="YAML file, see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. learner.name=maml")
    parser.add_argument("--num-workers", type=int, required=True, help="that share the tasks")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--resume", action="store_true", help="go on from RUN_DIR's checkpoint")
    parser.add_argument("--max-failures", type=int, default=3, help="restarts of lost workers")
    _ray_address(parser)


def _ray_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", help="of a cluster, or auto; default: one of this machine")


def _evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help=_LEARNER)
    parser.add_argument("--env", help="another environment id than the one trained on")
    parser.add_argument("--env-kwargs", metavar="JSON", help="arguments of that environment")
    parser.add_argument(
        "--split", default="test", help="test, gap, extrapolation, validation or train"
    )
    parser.add_argument("--tasks", metavar="JSON", help="these, in place of a split's")
    parser.add_argument("--num-tasks", type=int, default=40)
    parser.add_argument("--episodes", type=int, default=20, help="per task, to measure each step")
    parser.add_argument(
        "--support-episodes", type=int, help="per task, to adapt on; by default the measured ones"
    )
    parser.add_argument("--adaptation-steps", type=int, default=3)
    parser.add_argument("--demonstrations", help="folder, for a learner that adapts to them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result here, and plots beside it")
    _allow_imports(parser)


def _compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("configs", nargs="+", type=Path, help="one comparison, or a config each")
    parser.add_argument("--seeds", nargs="+", type=int, help="default: 0 1 2, or the comparison's")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--results", type=Path, help="default: RUN_DIR/results")
    parser.add_argument("--splits", nargs="+", help="default: all that results are reported on")
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="for all")
    parser.add_argument("--report", type=Path, help="write a page about the first seed's runs")
    parser.add_argument("--ray", action="store_true", help="train what is missing as Ray tasks")
    parser.add_argument("--cpus", type=int, default=1, help="of each Ray task")
    _ray_address(parser)


def _record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="path", help=f"{_LEARNER}; or several")
    task = 'JSON, such as {"target_velocity": 2.0}; once for each row of the film'
    parser.add_argument("--task", required=True, action="append", help=task)
    kinds = ".mp4, .gif, or .png for some moments"
    parser.add_argument("--output", type=Path, required=True, help=kinds)
    parser.add_argument("--adaptation-steps", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=20, help="per adaptation step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--env-kwargs", help="of several runs: JSON, in place of those of training")
    parser.add_argument("--sampled", action="store_true", help="of several runs: sampled actions")
    _allow_imports(parser)


def _watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help=_LEARNER)
    parser.add_argument("--task", help="JSON; by default one of the held-out tasks")
    parser.add_argument("--episodes", type=int, default=20, help="per adaptation step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speed", type=float, default=1.0, help="1 for real time")
    parser.add_argument("--browser", action="store_true", help="even where there is a screen")
    parser.add_argument("--host", default="127.0.0.1", help="who may watch; this machine alone")
    parser.add_argument("--port", type=int, default=8080, help="0 for any that is free")
    _allow_imports(parser)


def _demonstrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", help=f"{_LEARNER}, or a model")
    parser.add_argument("--sb3", metavar="ALGORITHM", help="PATH is a model of stable-baselines3")
    parser.add_argument("--env", help="id; needed with --sb3")
    parser.add_argument("--split", default="train")
    parser.add_argument("--num-tasks", type=int, default=100)
    parser.add_argument("--episodes", type=int, default=4, help="recorded per task")
    parser.add_argument("--adaptation-steps", type=int, default=0, help="before recording")
    parser.add_argument("--support-episodes", type=int, default=20, help="of each of them")
    parser.add_argument("--sampled", action="store_true", help="actions, in place of likeliest")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    _allow_imports(parser)


def _replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, help="run folder")
    _allow_imports(parser)


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("--output", type=Path, default=Path("report.html"))
    parser.add_argument("--no-replay", action="store_true", help="leave the robot out")
    _allow_imports(parser)


def _scratch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help="a finished run, whose held-out tasks are used")
    parser.add_argument("--num-tasks", type=int, default=5)
    parser.add_argument("--budgets", nargs="+", type=int, default=[1, 100], help="multiples")
    _allow_imports(parser)


def _check_env(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", help="Gymnasium id, [module:]Name-v0")
    parser.add_argument("--config", type=Path, help="take the env section of this config instead")


def _tune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for all trials")
    parser.add_argument("--search", nargs="+", required=True, metavar="key=low:high[:log] or a,b,c")
    parser.add_argument("--trials", type=int, default=10, help="in all, those done before included")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="a trial is their mean")
    parser.add_argument("--run-dir", type=Path, required=True)


def _listing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="all about this one")


def _completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"))


COMMANDS = {
    "train": Command(
        "Meta-train from a YAML config, then evaluate on held-out tasks.",
        (
            "configs/half_cheetah_vel/maml_trpo.yaml meta_batch=20 seed=1",
            "--resume --run-dir runs/x iterations=2000     # goes on as it was begun",
        ),
        _train,
    ),
    "train_ray": Command(
        "Meta-train on a Ray cluster, or on this machine's cores as if it were one.",
        (
            "configs/half_cheetah_vel/maml_trpo.yaml --num-workers 2 --run-dir runs/x",
            "configs/half_cheetah_vel/rl2.yaml --num-workers 8 --address auto --run-dir /nfs/x",
        ),
        _train_ray,
        "All machines have to see the run folder. Lost workers are started again from it.",
    ),
    "evaluate": Command(
        "Measure how fast a trained meta-learner adapts to held-out tasks.",
        ("runs/x --split test --num-tasks 40 --adaptation-steps 3 --json out.json",),
        _evaluate,
    ),
    "compare": Command(
        "Train several methods over several seeds, and print one table of how they adapt.",
        (
            "configs/compare/point_navigation.yaml --run-dir runs/compare --report report.html",
            "configs/point_navigation/maml_trpo.yaml configs/point_navigation/rl2.yaml "
            "--seeds 0 1 --run-dir runs/compare",
        ),
        _compare,
        "Runs that are there already are not repeated. See docs/statistics.md for the intervals.",
    ),
    "record": Command(
        "Film a learner on one task, before and after adapting to it, or several learners on it.",
        ("runs/x [runs/y ...] --task '{\"target_velocity\": 2.0}' --output clip.mp4",),
        _record,
        "Without a screen the first of EGL and OSMesa that works draws, or the one that\n"
        "MUJOCO_GL names.",
    ),
    "watch": Command(
        "Watch a robot live: change its task, let it adapt, push it, load it, stop a motor.",
        ("runs/x", "zoo:half_cheetah_vel/rl2 --browser --port 8080"),
        _watch,
        "In MuJoCo's window where there is a screen, else in a browser (on this machine alone,\n"
        "unless --host says otherwise). Needs pip install metarl-robotics[report].",
    ),
    "report": Command(
        "Write one HTML page about one run, or several on the same tasks.",
        ("runs/maml runs/rl2 --output report.html",),
        _report,
        "It asks no network for anything. Needs pip install metarl-robotics[report].",
    ),
    "scratch": Command(
        "PPO from scratch on held-out tasks, what adaptation has to be compared with.",
        ("runs/x --num-tasks 5 --budgets 1 100",),
        _scratch,
        "Each held-out task of a run gets a new policy, trained on as many environment steps as\n"
        "adaptation used, and on a multiple of them.",
    ),
    "record_demonstrations": Command(
        "Record an expert's episodes as a Minari dataset, one folder for a list of tasks.",
        ("runs/oracle --split train --num-tasks 200 --output demonstrations/train",),
        _demonstrate,
        "The expert adapts to each task first where --adaptation-steps says so; one that is told\n"
        "the task demonstrates for those who are not. With --sb3 PPO it is a model of\n"
        "stable-baselines3, whose file is a pickle: reading it runs what it says.",
    ),
    "check_env": Command(
        "Check a task environment: what is wrong with it, one sentence each.",
        ("my_module:MyEnv-v0", "--config my_config.yaml"),
        _check_env,
    ),
    "tune": Command(
        "Search over a few hyperparameters with Optuna, on the validation split.",
        (
            "configs/reacher_goal/rl2.yaml --run-dir runs/tune --trials 12 "
            "--search learner.learning_rate=1e-4:3e-3:log policy.init_std=0.3:1.0",
        ),
        _tune,
        "Held-out tasks take no part. Needs pip install metarl-robotics[tune].",
    ),
    "replay": Command(
        "Step again through the diverged episode that a training kept.", ("runs/x",), _replay
    ),
    "envs": Command(
        "List the environments, or show one: its tasks, splits and arguments.",
        ("", "metarl/HalfCheetahVel-v0"),
        _listing,
    ),
    "learners": Command(
        "List the learners, or show one: its config keys and their defaults.",
        ("", "rl2"),
        _listing,
    ),
    "completion": Command(
        "Print a shell's completion of the metarl command.",
        ("bash > ~/.local/share/bash-completion/completions/metarl",),
        _completion,
    ),
}
