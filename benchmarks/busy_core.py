"""Speed beside another process that counts on one core, as a share of the speed alone."""

import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.workloads import Bench, Turn, Workload

_PARTS: dict[str, Callable[[Turn], float]] = {
    "sampling": lambda turn: turn.steps / turn.sampling_s,
    "learning": lambda turn: turn.steps / (turn.seconds - turn.sampling_s),
    "iteration": lambda turn: turn.steps / turn.seconds,
}


def beside_a_busy_core(workload: Workload, repeats: int) -> dict[str, float]:
    """Shares of the speed alone that sampling, learning and the whole iteration keep."""
    bench = Bench(workload)
    bench.iteration(0)
    alone = _speeds([bench.iteration(turn) for turn in range(1, repeats + 1)])
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        busy = _speeds([bench.iteration(turn) for turn in range(repeats + 1, 2 * repeats + 1)])
    finally:
        other.kill()
        other.wait()
        bench.close()
    return {part: busy[part] / speed for part, speed in alone.items()}


def _speeds(turns: Sequence[Turn]) -> dict[str, float]:
    return {part: float(np.median([of(t) for t in turns])) for part, of in _PARTS.items()}
