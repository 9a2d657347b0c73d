"""How well value baselines predict episodes that they have not seen, by their shrinkage.

python -m benchmarks.left_out_error --env metarl/Walker2dRandParams-v0

Fits to the episodes of each task and predicts as many others of the same policy: squared error over
the variance of the returns, mean over the tasks. Without end is the baseline of time alone.
"""

import argparse

import numpy as np

from benchmarks import Bench, Workload
from metarl.command_line import run
from metarl.estimators.returns import discounted_returns
from metarl.estimators.value_baselines import LinearBaseline
from metarl.interaction.rollouts import Rollouts
from metarl.seeding import Purpose

_SHRINKAGES = (0.0, 0.01, 0.1, 1.0, 1e12)
_DISCOUNT = 0.99


def left_out_error(seen: Rollouts, unseen: Rollouts, shrinkage: float) -> tuple[float, float]:
    """The error, and the share of tasks whose baseline uses observations."""
    baseline = LinearBaseline(shrinkage=shrinkage)
    returns = [discounted_returns(r.rewards_MEH, r.valid_MEH, _DISCOUNT) for r in (seen, unseen)]
    baseline.fit(seen.obs_MEHO, returns[0], seen.valid_MEH)
    errors = []
    predicted_MEH = baseline.values(unseen.obs_MEHO)
    for truth, value, valid in zip(returns[1], predicted_MEH, unseen.valid_MEH, strict=True):
        errors.append(float((truth - value)[valid].square().mean() / truth[valid].var()))
    return float(np.mean(errors)), float(baseline.full_M.double().mean())


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description="Left-out error of value baselines.")
    parser.add_argument("--env", default="metarl/Walker2dRandParams-v0")
    parser.add_argument("--size", type=int, nargs=3, default=(20, 20, 100), metavar=("M", "E", "H"))
    parser.add_argument("--at", type=int, nargs="+", default=[0, 8, 16], help="iterations")
    arguments = parser.parse_args()
    bench = Bench(Workload(arguments.env, *arguments.size))
    for index in range(max(arguments.at) + 1):
        if index in arguments.at:
            state = bench.learner.begin(*arguments.size[:2])
            paths = [(3, Purpose.BENCHMARK, index, part) for part in (0, 1)]
            seen, unseen = (bench.collect(state, path) for path in paths)
            cells = (left_out_error(seen, unseen, shrinkage) for shrinkage in _SHRINKAGES)
            row = ", ".join(f"{error:.3g} ({share:.0%})" for error, share in cells)
            print(f"iteration {index}, {row} for shrinkage {_SHRINKAGES}")
        bench.iteration(index)


if __name__ == "__main__":
    run(main)
