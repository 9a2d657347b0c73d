"""Where each millisecond of a meta-iteration goes.

python -m benchmarks.profile_iteration --learner maml --size 40 20 200

Times are exclusive: what a part spends in another part of the list counts there. The last line is
the physics alone, in the same run.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from benchmarks import Bench, Workload
from benchmarks.limit import PhysicsLimit
from metarl.command_line import run
from metarl.interaction import sampler
from metarl.learners import LEARNERS
from metarl.learners.clipped_ppo import ClippedPPO
from metarl.learners.gradient.base import GradientBasedLearner, ReactiveActor
from metarl.learners.gradient.inner_loop import InnerLoop
from metarl.learners.gradient.meta_objective import MetaObjective
from metarl.learners.memory.base import MemoryLearner, RememberingActor
from metarl_envs.robots.base import MujocoTaskEnv

_LIMIT = "the limit"

_PARTS: list[tuple[Any, str, str]] = [
    (PhysicsLimit, "step", "physics"),
    (PhysicsLimit, "repeat", _LIMIT),
    (PhysicsLimit, "copy_fields", _LIMIT),
    (MujocoTaskEnv, "step", "observation and reward"),
    (MujocoTaskEnv, "reset", "reset"),
    (sampler, "reset_seeds", "reset"),
    (sampler, "action_noise", "noise"),
    *((owner, "act", "policy") for owner in (ReactiveActor, RememberingActor)),
    *((sampler.Recorder, n, "bookkeeping") for n in ("observe", "act", "outcome", "finish")),
    (GradientBasedLearner, "samples", "baseline and advantages"),
    (InnerLoop, "step", "inner gradient"),
    (MetaObjective, "gradient", "outer gradient"),
    (MetaObjective, "fisher_product", "Fisher-vector products"),
    (MetaObjective, "evaluate", "line search"),
    (MemoryLearner, "trial", "baseline and advantages"),
    (ClippedPPO, "improve", "PPO"),
]


class Stopwatch:
    """Exclusive seconds by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    def timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """The function, its time counted for `part`."""

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self._count()
            self._open.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self._count()
                self._open.pop()

        return wrapper

    def _count(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description="Milliseconds of a meta-iteration, by part.")
    parser.add_argument("--env", default="metarl/HalfCheetahVel-v0")
    parser.add_argument("--learner", default="maml", choices=LEARNERS)
    parser.add_argument("--size", type=int, nargs=3, default=(40, 20, 200), metavar=("M", "E", "H"))
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    meta_batch, episodes, horizon = arguments.size
    bench = Bench(Workload(arguments.env, meta_batch, episodes, horizon, arguments.learner))
    stopwatch = Stopwatch()
    for owner, name, part in _PARTS:
        setattr(owner, name, stopwatch.timed(getattr(owner, name), part))
    iteration = stopwatch.timed(bench.iteration, "everything else")
    iteration(0)
    stopwatch.seconds.clear()
    turns = [iteration(turn) for turn in range(1, arguments.repeats + 1)]
    del stopwatch.seconds[_LIMIT]
    for part, seconds in sorted(stopwatch.seconds.items(), key=lambda item: -item[1]):
        print(f"{part:26} {1e3 * seconds / arguments.repeats:8.0f} ms")
    total = np.mean([turn.seconds for turn in turns])
    alone = np.mean([turn.alone_s for turn in turns])
    print(f"{'whole iteration':26} {1e3 * total:8.0f} ms")
    print(f"{'physics alone':26} {1e3 * alone:8.0f} ms, {100 * alone / total:.0f} %")


if __name__ == "__main__":
    run(main)
