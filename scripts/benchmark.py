"""Measure how far from the speed of physics alone this machine runs.

python scripts/benchmark.py --env metarl/HalfCheetahVel-v0 --json benchmark.json

The limit is `Batch.step` alone, on the same initial states and with random controls. Limit,
sampling and whole iterations take turns inside one run, so that a noisy machine slows all alike.
"""

import argparse
import json
import platform
import resource
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from metarl.benchmark import Workload, measure
from metarl.checkpoint import versions
from metarl.command_line import run

_SIZES = {"40 x 20 x 200": (40, 20, 200), "20 x 20 x 100": (20, 20, 100)}


def main() -> None:
    """Parse, measure, report."""
    parser = argparse.ArgumentParser(description="Measure speed against physics alone.")
    parser.add_argument("--env", default="metarl/HalfCheetahVel-v0")
    parser.add_argument("--learner", default="maml", help="name of a meta-learner")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"machine": platform.platform(), "versions": versions(), "seed": 0}
    results["workloads"] = {}
    title = f"{arguments.env}, {arguments.learner}"
    table = Table(title=f"{title}: environment steps/s (best of {arguments.repeats})")
    for column in ("tasks x episodes x steps", "physics", "sampling", "iteration", "peak MiB"):
        table.add_column(column, justify="right")
    for name, (meta_batch, episodes, horizon) in _SIZES.items():
        workload = Workload(arguments.env, meta_batch, episodes, horizon, arguments.learner)
        figures = measure(workload, arguments.repeats)
        figures["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        results["workloads"][name] = figures
        table.add_row(
            name,
            f"{figures['physics_steps_per_s']:,.0f}",
            f"{figures['sampling_steps_per_s']:,.0f} ({100 * figures['sampling_ratio']:.0f} %)",
            f"{figures['iteration_steps_per_s']:,.0f} ({100 * figures['iteration_ratio']:.0f} %)",
            f"{figures['peak_rss_mib']:,.0f}",
        )
    Console().print(table)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    run(main)
