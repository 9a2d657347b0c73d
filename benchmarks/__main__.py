"""Measure how far from the speed of physics alone this machine runs.

python -m benchmarks --json now.json            # every row, in about five minutes
python -m benchmarks --compare before.json      # and what has changed since
python -m benchmarks --env metarl/AntDir-v0 --learner promp

The limit is `Batch.step` alone, through the same states with the same controls, measured between
the steps of the work itself: a noisy machine slows both alike.
"""

import argparse
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import HORIZONS, META_BATCHES, Bench, Workload, costs, deviation_from_line
from benchmarks.busy_core import beside_a_busy_core
from benchmarks.peers import NUM_ENVS, speeds
from benchmarks.workloads import peak_rss_mib
from metarl.command_line import run
from metarl.errors import ConfigError
from metarl.experiment.checkpoint_writing import versions

_CHEETAH = "metarl/HalfCheetahVel-v0"
_SIZES = ((40, 20, 200), (20, 20, 100))
_FALLING = ("HopperVel", "Walker2dRandParams", "HumanoidDir")
# What has to be reached, in percent of the physics: sampling, iteration, adaptation
_TARGETS = {
    "maml HalfCheetahVel 40 x 20 x 200": {"sampling": 93, "iteration": 75},
    "maml HalfCheetahVel 20 x 20 x 100": {"iteration": 70},
    "maml AntDir 40 x 20 x 200": {"iteration": 90},
    "rl2 HalfCheetahVel 40 x 20 x 200": {"iteration": 60},
    "varibad HalfCheetahVel 40 x 20 x 200": {"iteration": 40},
    "maml HalfCheetahVel 1 x 20 x 200": {"adaptation": 70},
    "maml HopperVel 40 x 20 x 200": {"iteration": 72},
    "maml HopperVel 20 x 20 x 100": {"iteration": 72},
    "maml Walker2dRandParams 40 x 20 x 200": {"iteration": 85},
    "maml Walker2dRandParams 20 x 20 x 100": {"iteration": 82},
}


def main() -> None:
    """Parse, measure, report."""
    parser = argparse.ArgumentParser(description="Measure speed against physics alone.")
    parser.add_argument("--env", help=f"one environment instead of all rows; else {_CHEETAH}")
    parser.add_argument("--learner", help="one meta-learner instead of all rows; else maml")
    parser.add_argument("--repeats", type=int, default=2, help="turns of each measurement")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--compare", type=Path, help="figures of an earlier run")
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        raise ConfigError(f"--repeats must be positive, got {arguments.repeats}")
    before = _read(arguments.compare) if arguments.compare is not None else {}
    results: dict[str, Any] = {
        "machine": f"{platform.platform()}, {torch.get_num_threads()} threads",
        "versions": versions(),
        "seed": 0,
        "workloads": {},
    }
    if arguments.env or arguments.learner:
        env, learner = arguments.env or _CHEETAH, arguments.learner or "maml"
        for size in _SIZES:
            _add(results, Workload(env, *size, learner), arguments.repeats)
        _print_ratios(results["workloads"], before.get("workloads", {}))
    else:
        _measure_all(results, arguments.repeats, before.get("workloads", {}))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2))


def _measure_all(results: dict[str, Any], repeats: int, before: Mapping[str, Any]) -> None:
    _add(results, Workload(_CHEETAH, 40, 20, 200), repeats)
    _add(results, Workload(_CHEETAH, 20, 20, 100), 2 * repeats)
    # an Ant turn takes as long as all of the above
    _add(results, Workload("metarl/AntDir-v0", 40, 20, 200), 1, warm=False)
    for learner in ("rl2", "varibad"):
        _add(results, Workload(_CHEETAH, 40, 20, 200, learner), repeats, warm=False)
    _add(results, Workload(_CHEETAH, 1, 20, 200), 5 * repeats, "adaptation")
    for robot in _FALLING:  # at the start of training
        for size in _SIZES:
            _add(results, Workload(f"metarl/{robot}-v0", *size), 2 * repeats)
    _print_ratios(results["workloads"], before)
    results["beside_one_busy_core"] = {
        learner: beside_a_busy_core(Workload(_CHEETAH, 20, 20, 100, learner), repeats)
        for learner in ("maml", "rl2")
    }
    for learner, kept in results["beside_one_busy_core"].items():
        shares = ", ".join(f"{part} {100 * share:.0f} %" for part, share in kept.items())
        print(f"{learner} beside one busy core keeps of its speed alone: {shares}")
    results["scaling"] = {
        "meta_batch": costs([Workload(_CHEETAH, size, 20, 25) for size in META_BATCHES]),
        "horizon": costs([Workload(_CHEETAH, 5, 20, size) for size in HORIZONS]),
    }
    _print_scaling(results["scaling"])
    results["peers_steps_per_s"] = speeds()
    for name, speed in results["peers_steps_per_s"].items():
        print(f"{name:32} {speed:>9,.0f} steps/s, {NUM_ENVS} cheetahs, policy in the loop")


def _add(
    results: dict[str, Any],
    workload: Workload,
    repeats: int,
    work: str = "iteration",
    warm: bool = True,
) -> None:
    bench = Bench(workload)
    figures = bench.measure(work, repeats, warm)
    bench.close()
    robot = workload.env.partition("/")[2].partition("-")[0]
    size = f"{workload.meta_batch} x {workload.episodes} x {workload.horizon}"
    # the highest so far: only the first row's is a workload's own
    figures["peak_rss_mib"] = peak_rss_mib()
    results["workloads"][f"{workload.learner} {robot} {size}"] = figures


def _print_ratios(workloads: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    table = Table(title="steps/s, percent of physics alone (aim), percent of time in the engine")
    table.add_column("tasks x episodes x steps", no_wrap=True)
    for column in ("physics", "", "steps/s", "%", "engine", "MiB"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, figures in workloads.items():
        for part in ("sampling", "iteration", "adaptation"):
            if f"{part}_ratio" not in figures:
                continue
            percent = f"{100 * figures[f'{part}_ratio']:.0f}"
            aim = _TARGETS.get(name, {}).get(part)
            percent += f" ({aim})" if aim else ""
            if f"{part}_ratio" in before.get(name, {}):
                percent = f"{100 * before[name][f'{part}_ratio']:.0f} -> {percent}"
            table.add_row(
                name,
                f"{figures['physics_steps_per_s']:,.0f}",
                part,
                f"{figures[f'{part}_steps_per_s']:,.0f}",
                percent,
                f"{100 * figures[f'{part}_share']:.0f}",
                f"{figures['peak_rss_mib']:,.0f}",
            )
    Console(width=112).print(table)


def _print_scaling(scaling: Mapping[str, Any]) -> None:
    for name, sizes in (("meta_batch", META_BATCHES), ("horizon", HORIZONS)):
        rows = scaling[name]
        steps = [row["env_steps"] for row in rows]
        for size, row in zip(sizes, rows, strict=True):
            each = 1e6 * row["seconds"] / row["env_steps"]
            print(f"{name} {size:>3}: {each:5.1f} us per step, peak {row['peak_rss_mib']:,.0f} MiB")
        for key in ("seconds", "peak_rss_mib"):
            off = deviation_from_line(steps, [row[key] for row in rows])
            print(f"{name}: {key} within {100 * off:.0f} % of a line")


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"--compare {path} is no benchmark file: {error}") from error
    return document


if __name__ == "__main__":
    run(main)
