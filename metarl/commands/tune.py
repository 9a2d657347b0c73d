"""Search over a few hyperparameters with Optuna, by what they come to on the validation split.

metarl tune configs/reacher_goal/rl2.yaml --run-dir runs/tune/reacher --trials 12 \
    --search learner.learning_rate=1e-4:3e-3:log policy.init_std=0.3:1.0 learner.memory=gru,lstm

Held-out tasks take no part. The study lies in RUN_DIR/study.db: started again, the search goes on,
and so does a training that was interrupted. Ranges of whole numbers stay whole where the key is.
Needs `pip install metarl-robotics[tune]`.
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
from rich.console import Console

import metarl
from metarl.errors import ConfigError, TrainingError
from metarl.experiment.config import ExperimentConfig, load_config

_VALIDATION = "evaluation.split=validation"
_LOG, _ASKED, _FOLDER = "log", "asked", "folder"
_RULER = ("evaluation", "seed", "env", "horizon")  # what configurations are measured by
_COMMA = re.compile(r",(?![^\[]*\])")  # outside brackets
_State = optuna.trial.TrialState


def main(arguments: argparse.Namespace) -> None:
    """Parse, search, print every trial and the best."""
    if len(set(arguments.seeds)) < len(arguments.seeds) or arguments.trials < 1:
        raise ConfigError("seeds must differ, and trials be positive")
    overrides = [*arguments.overrides, _VALIDATION]
    base = load_config(arguments.config, overrides)
    searches = [_checked(_parse(text), arguments.config, overrides) for text in arguments.search]
    study = _study(arguments, base)
    _enqueue_interrupted(study)
    while len(_finished(study)) < arguments.trials:
        # another seed for each, or a search that goes on would begin as it began
        study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
        study.optimize(lambda trial: _value(trial, searches, arguments), n_trials=1)
    for trial in _finished(study):
        value = "failed" if trial.value is None else f"{trial.value:.4g}"
        print(f"trial {_folder(trial)}: {value}  {trial.params}")
    measured = any(trial.value is not None for trial in _finished(study))
    best = f"best: {study.best_params}" if measured else "none of them could be measured"
    print(f"{len(_finished(study))} configurations tried; {best}")


def _study(arguments: argparse.Namespace, base: ExperimentConfig) -> optuna.Study:
    """The study of a run folder.

    Raises:
        ConfigError: if it searches for something else.
    """
    arguments.run_dir.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="search",
        storage=f"sqlite:///{arguments.run_dir / 'study.db'}",
        direction="maximize",
        load_if_exists=True,
    )
    without = {"num_threads", "device", "checkpoint", "seed"}
    asked = {
        "search": sorted(arguments.search),
        "seeds": arguments.seeds,
        "config": base.model_dump(mode="json", exclude=without),
    }
    before = study.user_attrs.get(_ASKED)
    if before is None:
        study.set_user_attr(_ASKED, json.dumps(asked))
        return study
    differs = [name for name, value in asked.items() if json.loads(before)[name] != value]
    if differs:
        raise ConfigError(
            f"{arguments.run_dir} holds a search with another {' and '.join(differs)}, whose "
            "values do not compare with these; name another run folder"
        )
    return study


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Configurations that were measured or found to fail; not those that were interrupted."""
    return [t for t in study.trials if t.state in (_State.COMPLETE, _State.PRUNED)]


def _folder(trial: optuna.trial.FrozenTrial | optuna.Trial) -> int:
    """Number of a trial's run folders: that of the interrupted trial which it takes up."""
    return int(trial.user_attrs.get(_FOLDER, trial.number))


def _enqueue_interrupted(study: optuna.Study) -> None:
    """Take up again what ended before it could be measured."""
    interrupted = {_State.FAIL, _State.RUNNING}
    taken_up = {_folder(t) for t in study.trials if t.state not in interrupted}
    for trial in study.trials:
        if _folder(trial) not in taken_up:
            taken_up.add(_folder(trial))
            study.enqueue_trial(trial.params, user_attrs={_FOLDER: _folder(trial)})


class _Search(NamedTuple):
    """What is searched over: choices, as they stand in YAML, or a range."""

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    def choose(self, trial: optuna.Trial) -> str:
        """This trial's override."""
        if self.choices:
            return f"{self.key}={trial.suggest_categorical(self.key, self.choices)}"
        if self.whole:
            low, high = int(self.low), int(self.high)
            return f"{self.key}={trial.suggest_int(self.key, low, high, log=self.log)}"
        return f"{self.key}={trial.suggest_float(self.key, self.low, self.high, log=self.log)}"


def _parse(search: str) -> _Search:
    """What a text of the command line means.

    Raises:
        ConfigError: if it has none of the forms.
    """
    key, _, text = search.partition("=")
    form = f"--search {search!r} must be key=low:high, key=low:high:log or key=a,b,c"
    if key.partition(".")[0] in _RULER:
        raise ConfigError(
            f"--search {search!r}: {key} belongs to what configurations are measured by"
        )
    if ":" not in text:
        choices = tuple(_COMMA.split(text))
        if not key or len(choices) < 2:
            raise ConfigError(form)
        return _Search(key, choices)
    low, high, *rest = text.split(":")
    try:
        found = _Search(key, (), float(low), float(high), bool(rest))
    except ValueError:
        raise ConfigError(form) from None
    ascending = found.low < found.high and np.isfinite([found.low, found.high]).all()
    if not key or not ascending or rest not in ([], [_LOG]):
        raise ConfigError(form)
    if found.log and found.low <= 0:
        raise ConfigError(f"{form}; a log range is positive")
    return found


def _checked(search: _Search, config: Path, overrides: Sequence[str]) -> _Search:
    """The search, whole numbers if its key takes no others.

    Raises:
        ConfigError: if the config refuses a choice, or an end of the range.
    """

    def check(value: object) -> None:
        load_config(config, [*overrides, f"{search.key}={value}"])

    for choice in search.choices:
        check(choice)
    if search.choices:
        return search
    ends = [search.low, search.high]
    try:
        for end in ends:
            check(end)
        check(0.5 * sum(ends) + 1e-3 * (search.high - search.low))
    except ConfigError:
        if not all(end.is_integer() for end in ends):
            raise
        for end in ends:
            check(int(end))
        return search._replace(whole=True)
    return search


def _value(
    trial: optuna.Trial, searches: Sequence[_Search], arguments: argparse.Namespace
) -> float:
    """Mean return on validation tasks after the last adaptation step, the mean over seeds."""
    chosen = [search.choose(trial) for search in searches]
    returns = [_train(_folder(trial), chosen, seed, arguments) for seed in arguments.seeds]
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
