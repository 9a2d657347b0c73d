"""Search over a few hyperparameters with Optuna, by what they come to on the validation split.

python scripts/tune.py configs/reacher_goal/rl2.yaml --run-dir runs/tune/reacher --trials 12 \
    --search learner.learning_rate=1e-4:3e-3:log policy.init_std=0.3:1.0 learner.memory=gru,lstm

Held-out tasks take no part. The study lies in RUN_DIR/study.db: started again, the search goes on.
Needs `pip install metarl-robotics[tune]`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
from rich.console import Console

import metarl
from metarl.command_line import run
from metarl.errors import ConfigError, TrainingError
from metarl.experiment.config import load_config

_VALIDATION = "evaluation.split=validation"
_LOG = "log"


def main() -> None:
    """Parse, search, print every trial and the best."""
    parser = argparse.ArgumentParser(description="Search over hyperparameters.")
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for all trials")
    parser.add_argument("--search", nargs="+", required=True, metavar="key=low:high[:log] or a,b,c")
    parser.add_argument("--trials", type=int, default=10, help="in all, those done before included")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="a trial is their mean")
    parser.add_argument("--run-dir", type=Path, required=True)
    arguments = parser.parse_intermixed_args()
    if len(set(arguments.seeds)) < len(arguments.seeds) or arguments.trials < 1:
        raise ConfigError("seeds must differ, and trials be positive")
    first = [_parse(search).first() for search in arguments.search]
    load_config(arguments.config, [*arguments.overrides, *first, _VALIDATION])
    arguments.run_dir.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=str(arguments.config),
        storage=f"sqlite:///{arguments.run_dir / 'study.db'}",
        direction="maximize",
        load_if_exists=True,
    )
    while len(_finished(study)) < arguments.trials:
        # another seed for each, or a search that goes on would begin as it began
        study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
        study.optimize(lambda trial: _value(trial, arguments), n_trials=1)
    for trial in sorted(_finished(study), key=lambda t: t.number):
        value = "failed" if trial.value is None else f"{trial.value:.4g}"
        print(f"trial {trial.number}: {value}  {trial.params}")
    print(f"{len(_finished(study))} configurations tried; best: {study.best_params}")


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in study.trials if trial.state.is_finished()]


class _Search(NamedTuple):
    """What is searched over: choices, as they stand in YAML, or a range."""

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    def choose(self, trial: optuna.Trial) -> str:
        """This trial's override."""
        if self.choices:
            return f"{self.key}={trial.suggest_categorical(self.key, self.choices)}"
        return f"{self.key}={trial.suggest_float(self.key, self.low, self.high, log=self.log)}"

    def first(self) -> str:
        """One of the overrides, to see whether the key is there."""
        return f"{self.key}={self.choices[0] if self.choices else self.low}"


def _parse(search: str) -> _Search:
    """What a text of the command line means.

    Raises:
        ConfigError: if it has none of the forms.
    """
    key, _, text = search.partition("=")
    form = f"--search {search!r} must be key=low:high, key=low:high:log or key=a,b,c"
    if ":" not in text:
        choices = tuple(text.split(","))
        if not key or len(choices) < 2:
            raise ConfigError(form)
        return _Search(key, choices)
    low, high, *rest = text.split(":")
    try:
        found = _Search(key, (), float(low), float(high), bool(rest))
    except ValueError:
        raise ConfigError(form) from None
    if not key or not found.low < found.high or rest not in ([], [_LOG]):
        raise ConfigError(form)
    if found.log and found.low <= 0:
        raise ConfigError(f"{form}; a log range is positive")
    return found


def _value(trial: optuna.Trial, arguments: argparse.Namespace) -> float:
    """Mean return on validation tasks after the last adaptation step, the mean over seeds."""
    chosen = [_parse(search).choose(trial) for search in arguments.search]
    returns = [_train(trial.number, chosen, seed, arguments) for seed in arguments.seeds]
    return float(np.mean(returns))


def _train(trial: int, chosen: Sequence[str], seed: int, arguments: argparse.Namespace) -> float:
    overrides = [*arguments.overrides, *chosen, _VALIDATION, f"seed={seed}"]
    config = load_config(arguments.config, overrides)
    folder = arguments.run_dir / f"trial{trial}-seed{seed}"
    try:
        result = metarl.train(config, folder, resume=True, console=Console(stderr=True))
    except TrainingError as error:
        raise optuna.TrialPruned(str(error)) from None
    value = result.summary[-1].mean
    if np.isnan(value):
        raise optuna.TrialPruned("more than a tenth of the episodes diverged")
    return value


if __name__ == "__main__":
    run(main)
