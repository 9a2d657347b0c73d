"""Cost of an iteration against meta-batch size and horizon."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack

import numpy as np

from benchmarks.workloads import Bench, Figures, Turn, Workload, peak_rss_mib

META_BATCHES = (10, 20, 40, 80, 160)
HORIZONS = (50, 100, 200, 400, 800)

_benches: list[Bench] = []  # the one of a worker process


def costs(workloads: Sequence[Workload], rounds: int = 2) -> list[Figures]:
    """Seconds of an iteration, peak memory in MiB and environment steps of each workload.

    Every workload has a process of its own. They take turns, so that a machine whose speed changes
    changes it for all; the fastest turn counts.
    """
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                ProcessPoolExecutor(1, mp_context=context, initializer=_start, initargs=(workload,))
            )
            for workload in workloads
        ]
        for future in [worker.submit(peak_rss_mib) for worker in workers]:
            future.result()  # all have started
        turns = [
            [worker.submit(_turn, turn).result() for worker in workers] for turn in range(rounds)
        ]
        memory: list[Future[float]] = [worker.submit(peak_rss_mib) for worker in workers]
        return [
            {
                "env_steps": float(own[0].steps),
                "seconds": min(turn.seconds for turn in own),
                "peak_rss_mib": peak.result(),
            }
            for own, peak in zip(zip(*turns, strict=True), memory, strict=True)
        ]


def _start(workload: Workload) -> None:
    _benches.append(Bench(workload))


def _turn(turn: int) -> Turn:
    return _benches[0].iteration(turn)


def deviation_from_line(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Largest relative distance of `costs` from the line that fits them best, in relative terms.

    The line may start above zero: a process has costs that no size explains.
    """
    x, y = np.asarray(sizes, float), np.asarray(costs, float)
    design = np.stack([np.ones_like(x), x], axis=1) / y[:, None]
    coefficients, *_ = np.linalg.lstsq(design, np.ones_like(y), rcond=None)
    return float(np.abs(design @ coefficients - 1.0).max())
