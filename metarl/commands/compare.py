"""Train several methods over several seeds, and print one table of how they adapt.

metarl compare configs/point_navigation/*.yaml --seeds 0 1 2 --run-dir runs/compare

Every run is a run folder of its own, `CONFIG-seedN`; runs that are already there are not repeated.
What it came to on every split is kept in `RESULTS/CONFIG-seedN.json.gz`. The interquartile mean is
over all seeds, tasks and episodes; its interval is over new seeds and new tasks
(docs/statistics.md). With fewer than five seeds, each one's own interquartile mean stands beside
it. Then come the mean differences to the first method, paired by seed and task.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from rich.console import Console

import metarl
from metarl import ExperimentConfig
from metarl.commands.report import require_page
from metarl.commands.scratch import from_scratch
from metarl.environments.make import make_env
from metarl.errors import ConfigError
from metarl.evaluation.result import MOST_DIVERGED
from metarl.evaluation.statistics import interquartile_mean, paired_difference
from metarl.experiment.config import first_difference, parse_config
from metarl.experiment.cpu_share import shared_cpus
from metarl.experiment.run_figures import common_splits, figure, mean_cost, seeds_scores
from metarl.experiment.run_record import RunRecord, record_run
from metarl.experiment.suite import Comparison, ScratchConfig, is_suite, load_suite
from metarl.experiment.trust import named_modules
from metarl.experiment.world import this_world
from metarl.training.run_folder import resumed_checkpoint

_MANY_SEEDS, _DIGITS = 5, 4
_COST = ("method", "seeds", "env steps", "minutes")
_NO_MATTER = frozenset({"checkpoint", "num_threads", "device"})  # to what a run comes to


def main(arguments: argparse.Namespace) -> None:
    """Train what is missing, print, report."""
    if arguments.report is not None:
        require_page(arguments.report)  # before anything is trained
    configs, scratch = _asked(arguments)
    if arguments.splits:
        for same in configs.values():
            _check_splits(same[0], arguments.splits)
    for name, same in configs.items():
        for config in same:
            _require_same_experiment(name, config, arguments)
    if arguments.ray:
        _make_on_ray(configs, arguments)
    records = {
        name: [_record(name, config, arguments) for config in same]
        for name, same in configs.items()
    }
    if this_world().rank == 0:
        _show(records, {name: same[0].seed for name, same in configs.items()}, scratch, arguments)


def _make_on_ray(
    configs: Mapping[str, Sequence[ExperimentConfig]], arguments: argparse.Namespace
) -> None:
    """Train and evaluate in tasks of a Ray cluster, one for each run; all can be tried again."""
    from metarl.training.on_ray import cluster, in_tasks

    if arguments.cpus < 1:
        raise ConfigError(f"--cpus must be positive, got {arguments.cpus}")
    with cluster(arguments.address):
        calls = [
            (name, config.model_copy(update={"num_threads": arguments.cpus}), _absolute(arguments))
            for name, same in configs.items()
            for config in same
        ]
        in_tasks(_record, calls, arguments.cpus)


def _absolute(arguments: argparse.Namespace) -> argparse.Namespace:
    """The same with paths that a process elsewhere can use."""
    paths = {n: v.resolve() for n, v in vars(arguments).items() if isinstance(v, Path)}
    return argparse.Namespace(**{**vars(arguments), **paths})


def _show(
    records: dict[str, list[RunRecord]],
    seeds: dict[str, int],
    scratch: ScratchConfig | None,
    arguments: argparse.Namespace,
) -> None:
    """Print what all runs came to, and write the report."""
    for split in common_splits(record for same in records.values() for record in same):
        print(f"\n{split}\n")
        _print_table(records, split)
        print()
        _print_differences(records, split)
    first = {name: arguments.run_dir / f"{name}-seed{seed}" for name, seed in seeds.items()}
    found = []
    if scratch is not None:
        folder = next(iter(first.values()))
        found = from_scratch(folder, scratch.num_tasks, scratch.budgets)
        print()
        for steps, value in found:
            print(f"PPO from scratch, {steps:,} steps per task: mean return {value:.1f}")
    if arguments.report is not None:
        _report(arguments.report, list(first.values()), records, found)


def _report(
    path: Path,
    folders: Sequence[Path],
    records: dict[str, list[RunRecord]],
    scratch: Sequence[tuple[int, float]],
) -> None:
    """One page: the runs of the first seed, and a table of all seeds."""
    from metarl.reports.html.page import PageTable, write_report
    from metarl.reports.html.runs import read_run

    split = common_splits(record for same in records.values() for record in same)[0]
    rows = [_row(name, runs, split) for name, runs in records.items()]
    width = max(map(len, rows))
    steps = [f"after {step}" for step in range(width - len(_COST))]
    table = PageTable(
        f"All seeds, {split} tasks",
        "Interquartile mean over seeds, tasks and episodes after each adaptation step, and its "
        "95 % interval for new seeds and tasks. What follows is of the first seed alone.",
        (*_COST, *steps),
        tuple((*row, *[""] * (width - len(row))) for row in rows),
    )
    tables = [table]
    if scratch:
        shown = tuple((f"{steps:,}", f"{value:.1f}") for steps, value in scratch)
        caption = "A new policy of stable-baselines3 for each of some held-out tasks."
        tables.append(PageTable("PPO from scratch", caption, ("steps per task", "return"), shown))
    runs = [read_run(folder) for folder in folders]
    write_report(runs, path, ["metarl", *sys.argv[1:]], tables=tables)
    print(f"\nwrote {path}")


def _asked(arguments: argparse.Namespace) -> Comparison:
    """Configs by method and seed, from a comparison's file or from configs of their own."""
    seeds = None if arguments.seeds is None else tuple(arguments.seeds)
    if seeds is not None and len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds occur twice in {', '.join(map(str, seeds))}")
    first, *others = arguments.configs
    if is_suite(first):
        if others:
            raise ConfigError(f"{first} is a comparison of its own: name it alone")
        return load_suite(first, seeds, tuple(arguments.set))
    names = [path.stem for path in arguments.configs]
    if len(set(names)) < len(names):
        raise ConfigError(f"configs of one name occur twice in {', '.join(names)}")
    configs = {
        path.stem: [
            metarl.load_config(path, [*arguments.set, f"seed={seed}"])
            for seed in seeds or (0, 1, 2)
        ]
        for path in arguments.configs
    }
    return Comparison(configs, None)


def _check_splits(config: ExperimentConfig, splits: Sequence[str]) -> None:
    with closing(make_env(config.env, 1, config.horizon)) as env:
        for split in splits:
            env.task_distribution(split)


def _record(name: str, config: ExperimentConfig, arguments: argparse.Namespace) -> RunRecord:
    """What a config came to; trained and evaluated unless that is already known."""
    file, folder = _places(name, config, arguments)
    world = this_world()
    if world.all(file.is_file()):
        record = RunRecord.read(file)
        if set(arguments.splits or ()) <= set(record.evaluations):
            return record
    if not world.all(_is_finished(folder)):
        metarl.train(config, folder, resume=True, console=Console(stderr=True))
    with shared_cpus():
        record = record_run(folder, arguments.splits, named_modules(config.env), world)
    with world.first_alone("write the results") as first:
        if first:
            record.save(file)
    return record


def _places(
    name: str, config: ExperimentConfig, arguments: argparse.Namespace
) -> tuple[Path, Path]:
    """File of a run's results, and its folder."""
    name = f"{name}-seed{config.seed}"
    results = arguments.results or arguments.run_dir / "results"
    return results / f"{name}.json.gz", arguments.run_dir / name


def _is_finished(folder: Path) -> bool:
    return (folder / "evaluation.json").is_file()


def _require_same_experiment(
    name: str, config: ExperimentConfig, arguments: argparse.Namespace
) -> None:
    """Refuse results and runs of another experiment, before anything is trained."""
    file, folder = _places(name, config, arguments)
    if file.is_file():
        _check_same(file, parse_config(RunRecord.read(file).config), config)
    if _is_finished(folder):
        _check_same(folder, metarl.load_config(folder / "config.yaml"), config)
    elif folder.is_dir():
        resumed_checkpoint(config, folder)


def _check_same(path: Path, old: ExperimentConfig, new: ExperimentConfig) -> None:
    difference = first_difference(old, new, _NO_MATTER)
    if difference is not None:
        raise ConfigError(
            f"{path} is of another config: {difference}; move it away, or name other folders"
        )


def _print_table(records: dict[str, list[RunRecord]], split: str) -> None:
    rows = [_row(name, runs, split) for name, runs in records.items()]
    steps = max(len(row) for row in rows) - len(_COST)
    print("| " + " | ".join([*_COST, *map(str, range(steps))]) + " |")
    print("|" + "---|" * (steps + len(_COST)))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def _row(name: str, runs: Sequence[RunRecord], split: str) -> list[str]:
    scores_SKME = seeds_scores(name, runs, split)
    cells = [seeds_cell(scores_SKME[:, step]) for step in range(scores_SKME.shape[1])]
    steps, minutes = mean_cost(runs)
    spent = "not known" if minutes is None else f"{minutes:.1f}"
    return [name, str(len(runs)), f"{steps / 1e6:.1f} M", spent, *cells]


def seeds_cell(scores_SME: np.ndarray) -> str:
    """Interquartile mean after one step, its interval, and few seeds' own values."""
    cell = figure(scores_SME, _DIGITS)
    if not 1 < len(scores_SME) < _MANY_SEEDS:
        return cell
    own = (interquartile_mean(scores_ME) for scores_ME in scores_SME)
    return f"{cell} ({', '.join(f'{value:.{_DIGITS}g}' for value in own)})"


def _print_differences(records: dict[str, list[RunRecord]], split: str) -> None:
    """Mean differences to the first method on the same tasks, seed by seed and task by task."""
    (first_name, first_runs), *others = records.items()
    first = seeds_scores(first_name, first_runs, split)
    for name, runs in others:
        pairs = zip(first_runs, runs, strict=True)
        if any(a.evaluations[split]["tasks"] != b.evaluations[split]["tasks"] for a, b in pairs):
            print(f"{name} was measured on other tasks than {first_name}: no differences")
            continue
        scores = seeds_scores(name, runs, split)
        cells = []
        for step in range(min(first.shape[1], scores.shape[1])):
            lost = max(np.isnan(part[:, step]).mean() for part in (first, scores))
            value, (low, high) = paired_difference(first[:, step], scores[:, step])
            known = f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
            cells.append("none" if lost > MOST_DIVERGED else known)
        print(f"| {name} - {first_name} | " + " | ".join(cells) + " |")
