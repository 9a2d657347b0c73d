"""Cost of an iteration against meta-batch size and horizon, each in a process of its own."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from metarl.benchmark.workloads import Bench, Figures, Workload, peak_rss_mib

META_BATCHES = (10, 20, 40, 80, 160)
HORIZONS = (50, 100, 200, 400, 800)


def cost(workload: Workload) -> Figures:
    """Seconds of a warm iteration (the faster of two), memory in MiB and environment steps.

    Measured in a new process. `own_rss_mib` leaves out what the interpreter takes when it starts.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(_cost, workload).result()


def _cost(workload: Workload) -> Figures:
    empty = peak_rss_mib()
    bench = Bench(workload)
    bench.iteration(0)
    speed = max(bench.iteration(turn) for turn in (1, 2))
    steps = 2 * workload.meta_batch * workload.episodes * workload.horizon
    return {
        "env_steps": float(steps),
        "seconds": steps / speed,
        "peak_rss_mib": peak_rss_mib(),
        "own_rss_mib": peak_rss_mib() - empty,
    }


def deviation_from_line(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Largest relative distance of `costs` from the line that fits them best, in relative terms.

    The line may start above zero: a process has costs that no size explains.
    """
    x, y = np.asarray(sizes, float), np.asarray(costs, float)
    design = np.stack([np.ones_like(x), x], axis=1) / y[:, None]
    coefficients, *_ = np.linalg.lstsq(design, np.ones_like(y), rcond=None)
    return float(np.abs(design @ coefficients - 1.0).max())
