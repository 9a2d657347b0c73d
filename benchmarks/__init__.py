"""Speed against physics alone, measured inside one run."""

from benchmarks.scaling import HORIZONS, META_BATCHES, costs, deviation_from_line
from benchmarks.workloads import Bench, Figures, Workload

__all__ = [
    "HORIZONS",
    "META_BATCHES",
    "Bench",
    "Figures",
    "Workload",
    "costs",
    "deviation_from_line",
]
