"""One process on all cores against several on their share of them, on the same work.

    python -m benchmarks.processes        # each kind of learner, 1 x 2 against 2 x 1
    python -m benchmarks.processes --learner maml_trpo --processes 1 2 4 --repeats 3

Processes times threads is the same in every row, but where there are more processes than cores:
there the time tells nothing, and what counts is what each process sends, how often, and the
processor time that it takes. Runs take turns; the median of their iterations is shown.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

import metarl
from metarl.experiment.world import this_world
from metarl.interaction.threads import num_cpus
from metarl.training.callbacks import Callback, Run

_LEARNERS = {
    "maml_trpo": "half_cheetah_vel/maml_trpo.yaml",
    "promp": "half_cheetah_vel/promp.yaml",
    "rl2": "half_cheetah_vel/rl2.yaml",
    "varibad": "half_cheetah_vel/varibad.yaml",
    "pearl": "half_cheetah_vel/pearl.yaml",
}
_WARM_UP = 1
# of one process, in an iteration
_SHOWN = {
    "communication": "{:.1%}",
    "waiting": "{:.1%}",
    "calls": "{:.0f}",
    "mib": "{:.1f}",
    "cpu_s": "{:.2f}",
}
_CONFIGS = Path(__file__).parents[1] / "configs"


class Meter(Callback):
    """Keeps what each iteration cost."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        traffic, used = this_world().traffic, resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = used.ru_utime + used.ru_stime
        return {"calls": traffic.calls, "mib": traffic.sent / 2**20, "cpu_s": cpu_s}

    def on_iteration(self, run: Run, metrics: Mapping[str, float | str]) -> None:
        """Take down the differences to the iteration before."""
        now = self._now()
        row = {name: now[name] - self._before[name] for name in now}
        names = ("iteration_s", "env_steps_per_s", "communication", "waiting")
        self.rows.append(row | {name: float(metrics[f"time/{name}"]) for name in names})
        self._before = now


def measure(learner: str, threads: int, iterations: int) -> None:
    """Train a little in this process and those beside it; the first one prints what it cost."""
    overrides = [
        f"iterations={iterations}",
        f"num_threads={threads}",
        "evaluation.num_tasks=8",
        "evaluation.episodes=1",
        "evaluation.every=0",
        "evaluation.adaptation_steps=0",
    ]
    meter = Meter()
    with tempfile.TemporaryDirectory() as folder:
        metarl.train(
            metarl.load_config(_CONFIGS / _LEARNERS[learner], overrides),
            Path(folder) / "run",
            console=Console(quiet=True),
            callbacks=[meter],
        )
    if this_world().rank == 0:
        rows = meter.rows[_WARM_UP:]
        print(json.dumps({name: median(row[name] for row in rows) for name in rows[0]}))


def launched(learner: str, processes: int, iterations: int) -> dict[str, float]:
    """`measure` in so many new processes, which share this machine's cores."""
    threads = max(1, num_cpus() // processes)
    inner = ["-m", "benchmarks.processes", "--inner", learner, str(threads), str(iterations)]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), *inner],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Take turns, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learner", choices=_LEARNERS)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--inner", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inner is not None:
        learner, threads, iterations = chosen.inner
        measure(learner, int(threads), int(iterations))
        return
    table = Table("learner", "processes x threads", "steps/s", "of first", *_SHOWN, box=None)
    found = {}
    for learner in [chosen.learner] if chosen.learner else _LEARNERS:
        found[learner] = turns(learner, chosen.processes, chosen.repeats, chosen.iterations)
        for row in rows_of(found[learner]):
            table.add_row(learner, *row)
    Console(width=120).print(table)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=1))


def turns(
    learner: str, processes: list[int], repeats: int, iterations: int
) -> dict[int, dict[str, float]]:
    """Figures for each number of processes, which take turns."""
    found: dict[int, list[dict[str, float]]] = {count: [] for count in processes}
    for _ in range(repeats):
        for count in processes:
            found[count].append(launched(learner, count, iterations))
    return {
        count: {name: median(run[name] for run in runs) for name in runs[0]}
        for count, runs in found.items()
    }


def rows_of(found: Mapping[int, Mapping[str, float]]) -> Iterator[list[str]]:
    """A row for each number of processes."""
    first = None
    for count, middle in found.items():
        speed = middle["env_steps_per_s"]
        first = first or speed
        shown = [form.format(middle[name]) for name, form in _SHOWN.items()]
        threads = max(1, num_cpus() // count)
        yield [f"{count} x {threads}", f"{speed:,.0f}", f"{speed / first:.0%}", *shown]


if __name__ == "__main__":
    main()
