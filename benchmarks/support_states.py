"""What support states of the curvature are worth: gain of the surrogate per second of iteration.

python -m benchmarks.support_states --env metarl/HopperVel-v0 --size 20 20 100

Trains, and after some iterations takes the trust region step of the same rollouts with each number
of support states per task. Compared are the gains of the surrogate, on several draws of rollouts,
over the time of an iteration with that number.
"""

import argparse
import time
from collections import defaultdict

import numpy as np
from torch.nn.functional import cosine_similarity

from benchmarks import Bench, Workload
from metarl.command_line import run
from metarl.experiment.world import Alone
from metarl.learners.gradient.maml import MAML
from metarl.learners.gradient.meta_objective import MetaObjective, ObjectiveConfig
from metarl.learners.gradient.outer import OuterOptimizer, OuterResult
from metarl.optimization.trust_region import TRPOConfig, trust_region_step
from metarl.params import Params, flatten


class Probe(OuterOptimizer):
    """Takes the step with every number of states; goes on with the given optimiser's step.

    Attributes:
        gains, cosines, seconds: of the last steps, by number; cosines are with the largest's step.
    """

    def __init__(self, optimizer: OuterOptimizer, numbers: list[int]) -> None:
        self.query_states, self.support_states = optimizer.query_states, optimizer.support_states
        self._optimizer, self._numbers = optimizer, sorted(numbers, reverse=True)
        self.gains: dict[int, float] = {}
        self.cosines: dict[int, float] = {}
        self.seconds: dict[int, float] = {}
        self.own_s = 0.0
        self.tries = False

    def update(self, objective: MetaObjective, theta: Params) -> OuterResult:
        start = time.perf_counter()
        if self.tries:
            self._try_all(objective, theta)
        result = self._optimizer.update(objective, theta)
        self.own_s = time.perf_counter() - start
        return result

    def _try_all(self, objective: MetaObjective, theta: Params) -> None:
        origin, steps = flatten(theta), []
        for number in self._numbers:
            start = time.perf_counter()
            result = trust_region_step(self._with(objective, number), theta, TRPOConfig())
            self.seconds[number] = time.perf_counter() - start
            self.gains[number] = result.gain
            steps.append(flatten(result.theta) - origin)
            self.cosines[number] = float(cosine_similarity(steps[-1], steps[0], dim=0))

    def _with(self, objective: MetaObjective, number: int) -> MetaObjective:
        config = ObjectiveConfig(MAML.Config().task_chunk, self.query_states, number)
        meta_batch = objective.experience.query.obs_MEHO.shape[0]
        return MetaObjective(
            objective.inner, objective.theta, objective.experience, config, Alone(), meta_batch
        )


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description="Gain per second by support states per task.")
    parser.add_argument("--env", default="metarl/HalfCheetahVel-v0")
    parser.add_argument("--size", type=int, nargs=3, default=(20, 20, 100), metavar=("M", "E", "H"))
    parser.add_argument("--numbers", type=int, nargs="+", default=[125, 250, 500, 1000, 2000, 4000])
    parser.add_argument("--at", type=int, nargs="+", default=[0, 30, 60], help="iterations")
    parser.add_argument("--draws", type=int, default=3, help="batches of rollouts compared at each")
    arguments = parser.parse_args()
    bench = Bench(Workload(arguments.env, *arguments.size))
    assert isinstance(bench.learner, MAML)
    probe = bench.learner.outer = Probe(bench.learner.outer, arguments.numbers)
    rows: dict[tuple[int, int], list[tuple[float, float, float]]] = defaultdict(list)
    for index in range(max(arguments.at) + arguments.draws):
        at = next((start for start in arguments.at if 0 <= index - start < arguments.draws), None)
        probe.tries = at is not None
        seconds = bench.iteration(index).seconds
        if at is not None:
            for number, gain in probe.gains.items():
                iteration_s = seconds - probe.own_s + probe.seconds[number]
                rows[at, number].append((gain, probe.cosines[number], iteration_s))
    print(f"{'iteration':>9} {'states':>7} {'gain':>8} {'cosine':>7} {'s':>6} {'gain/s':>8}")
    for (at, number), measured in rows.items():
        gain, cosine, seconds = np.mean(measured, axis=0)
        print(f"{at:9} {number:7} {gain:8.4f} {cosine:7.2f} {seconds:6.2f} {gain / seconds:8.5f}")


if __name__ == "__main__":
    run(main)
