"""Speed against physics alone, measured inside one run."""

from metarl.benchmark.scaling import HORIZONS, META_BATCHES, cost, deviation_from_line
from metarl.benchmark.workloads import Bench, Figures, Workload

__all__ = [
    "HORIZONS",
    "META_BATCHES",
    "Bench",
    "Figures",
    "Workload",
    "cost",
    "deviation_from_line",
]
