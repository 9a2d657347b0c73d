"""A meta-learner of your own: adapt by imitating the best rollouts (the cross-entropy method).

Each adaptation step moves the policy's mean towards the actions of the better half of the rollouts;
meta-training moves the initial parameters towards where that ended.

Run it: python docs/examples/own_learner.py
"""

from typing import Literal

import metarl
from metarl.experiment.config import parse_config
from metarl.learners import LEARNERS
from metarl.learners.gradient.base import GradientBasedConfig, GradientBasedLearner
from metarl.learners.gradient.inner_loop import InnerLoop, PlainStepsConfig
from metarl.learners.gradient.outer import OuterResult
from metarl.params import flatten, flatten_tasks, unflatten


class EliteConfig(GradientBasedConfig):
    """Which share of the steps is imitated, and how far the start moves."""

    name: Literal["elite"] = "elite"
    inner: PlainStepsConfig = PlainStepsConfig()
    elite_share: float = 0.5
    outer_step_size: float = 0.5


class EliteInnerLoop(InnerLoop):
    """The inner objective: log-probability of the actions with the best advantages."""

    elite_share = 0.5

    def value(self, distribution, samples):
        flat = samples.advantages_MEH.flatten(1)
        limit = flat.quantile(1.0 - self.elite_share, dim=1).view(-1, 1, 1)
        chosen = (samples.advantages_MEH >= limit) * samples.weights_MEH
        return (chosen * samples.log_probs_of(distribution)).sum((1, 2))


class Elite(GradientBasedLearner):
    """Acting, adapting and collecting are inherited; what is learned is `_update`."""

    Config = EliteConfig

    def __init__(self, config, policy, setting):
        self.config = config
        super().__init__(config, policy, setting)

    def _make_inner(self, policy):
        inner = EliteInnerLoop(policy, self.config.inner)
        inner.elite_share = self.config.elite_share
        return inner

    @property
    def training_steps(self):
        return self.config.inner.steps

    def _update(self, states, supports, work):
        adapted_MP = flatten_tasks(states[-1].params_M)
        mean = work.world.sum_over_tasks(adapted_MP) / work.meta_batch
        start, size = flatten(self.theta), self.config.outer_step_size
        theta = unflatten(start + size * (mean - start), self.theta)
        return OuterResult(theta, {"train/moved": float((mean - start).norm())})


LEARNERS["elite"] = Elite  # inside the project: one line in metarl/learners/__init__.py


def main(run_dir, iterations=20):
    """Meta-train and evaluate."""
    config = parse_config(
        {
            "env": {"id": "metarl/PointNavigation-v0", "kwargs": {"action_scale": 10.0}},
            "learner": {"name": "elite", "inner": {"step_sizes": [0.5]}},
            "meta_batch": 10,
            "episodes": 10,
            "horizon": 50,
            "iterations": iterations,
        }
    )
    return metarl.train(config, run_dir)


if __name__ == "__main__":
    main("runs/elite")
