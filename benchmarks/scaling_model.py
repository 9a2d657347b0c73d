"""What more machines would bring: a model of an iteration, from figures measured on this one.

    python -m benchmarks.processes --processes 1 2 4 8 --json processes.json
    python -m benchmarks.scaling_model processes.json

With W processes, one per node, an iteration takes

    T(W) = shared / W + repeated + calls (W - 1) latency + bytes(W) / bandwidth

`shared` is work that is dealt out, `repeated` is what every process does for itself; both are
fitted to the processor time of one process, measured for several W. Calls go round in a ring, each
process receiving what all others have. The network is assumed, not measured: 25 GbE, 30
microseconds a message. Efficiency is T(1) / (W T(W)), with the meta-batch as it is (strong) or W
times as large (weak).
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

_LATENCY_S, _BYTES_PER_S = 30e-6, 25e9 / 8
_NODES = (1, 2, 4, 8, 16, 32, 64)
_META_BATCH = 40


class Costs(NamedTuple):
    """Of a learner's iteration.

    Attributes:
        shared_s: processor seconds that are dealt out.
        repeated_s: processor seconds of every process.
        calls: collective operations.
        mib: that all processes together give.
    """

    shared_s: float
    repeated_s: float
    calls: float
    mib: float

    def seconds(self, nodes: int, larger: int = 1) -> float:
        """Of an iteration on so many nodes, with a meta-batch that is so many times as large."""
        network = self.calls * (nodes - 1) * _LATENCY_S
        sent = larger * self.mib * 2**20 * (nodes - 1) / nodes / _BYTES_PER_S
        work = larger * (self.shared_s / nodes + self.repeated_s)
        return work + network + sent


def fitted(figures: dict[str, dict[str, float]]) -> tuple[Costs, float]:
    """Costs, and the largest relative error of the processor time that they give."""
    counts = np.array([int(count) for count in figures])
    cpu_s = np.array([row["cpu_s"] for row in figures.values()])
    terms = np.stack([1.0 / counts, np.ones(len(counts))], axis=1)
    # relative errors, so that many processes count like few
    shared, repeated = np.linalg.lstsq(terms / cpu_s[:, None], np.ones(len(counts)), rcond=None)[0]
    repeated = max(0.0, float(repeated))
    errors = (terms @ [shared, repeated]) / cpu_s - 1.0
    two = figures["2"]
    costs = Costs(float(shared), repeated, two["calls"], 2 * two["mib"])
    return costs, float(np.abs(errors).max())


def main() -> None:
    """Read, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=Path, help="of benchmarks.processes, for 1, 2, ...")
    found = json.loads(parser.parse_args().figures.read_text())
    columns = ("repeated", "worst fit", *(f"W = {nodes}" for nodes in _NODES[1:]))
    table = Table("learner", "meta-batch", *columns, box=None)
    for learner, figures in found.items():
        costs, error = fitted(figures)
        share = costs.repeated_s / (costs.shared_s + costs.repeated_s)
        alone = costs.seconds(1)
        strong = [alone / (n * costs.seconds(n)) for n in _NODES[1:]]
        weak = [alone / costs.seconds(n, n) for n in _NODES[1:]]
        for name, values in (("same", strong), ("larger", weak)):
            cells = [
                "" if name == "same" and nodes > _META_BATCH else f"{value:.0%}"
                for nodes, value in zip(_NODES[1:], values, strict=True)
            ]
            table.add_row(learner, name, f"{share:.1%}", f"{error:.0%}", *cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
