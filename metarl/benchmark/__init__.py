"""Speed against physics alone, measured inside one run."""

from metarl.benchmark.scaling import HORIZONS, META_BATCHES, costs, deviation_from_line
from metarl.benchmark.workloads import Bench, Figures, Workload

__all__ = [
    "HORIZONS",
    "META_BATCHES",
    "Bench",
    "Figures",
    "Workload",
    "costs",
    "deviation_from_line",
]
