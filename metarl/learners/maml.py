"""Model-agnostic meta-learning (Finn et al. 2017, arXiv 1703.03400), with TRPO outside.

    for each task i:  phi_i = theta + alpha grad S(theta; support rollouts of pi_theta)
    theta <- TRPO step on mean_i L(phi_i(theta); query rollouts of pi_phi_i)

The meta-gradient goes through the adaptation: d phi / d theta = I + alpha Hessian(S), exactly, for
any number of inner steps. `inner.first_order` drops the second term (FOMAML).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from metarl.baselines import require_enough_samples
from metarl.learners.base import (
    ActionStep,
    Collect,
    LearnerConfig,
    MetaLearner,
    Metrics,
    Spec,
)
from metarl.learners.inner_loop import (
    AdvantageConfig,
    InnerLoop,
    InnerLoopConfig,
    make_batch,
)
from metarl.learners.meta_objective import MetaObjective
from metarl.learners.trpo import StepResult, TRPOConfig, trust_region_step
from metarl.params import Params, all_finite, tile
from metarl.policy import PolicyConfig, make_policy
from metarl.rollouts import Rollouts
from metarl.seeding import parameter_generator


class MAMLConfig(LearnerConfig):
    """MAML with a TRPO outer step."""

    name: Literal["maml"] = "maml"
    inner: InnerLoopConfig = InnerLoopConfig()
    outer: TRPOConfig = TRPOConfig()
    advantages: AdvantageConfig = AdvantageConfig()
    task_chunk: PositiveInt = 5
    """Tasks differentiated together: bounds memory, does not change the gradient."""


@dataclass(frozen=True)
class AdaptedParameters:
    """One set of policy parameters per task, shapes (M, ...)."""

    params_M: Params
    steps: int = 0  # adaptation steps behind them


class MAML(MetaLearner):
    """Learns initial policy parameters from which a gradient step adapts to a task."""

    Config = MAMLConfig

    def __init__(
        self,
        config: MAMLConfig,
        policy_config: PolicyConfig,
        spec: Spec,
        seed: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        require_enough_samples(spec.episodes, spec.horizon, spec.obs_size)
        super().__init__(config, policy_config, spec, seed, device, dtype)
        self.policy = make_policy(spec.obs_size, spec.action_size, policy_config, spec.num_actions)
        self.inner = InnerLoop(self.policy, config.inner)
        self._theta: Params = {}
        self.load_meta_parameters(self.policy.init(parameter_generator(seed)))

    def begin(self, num_tasks: int, episodes: int) -> AdaptedParameters:
        return AdaptedParameters(tile(self._theta, num_tasks))

    def act(
        self,
        state: AdaptedParameters,
        obs_MEO: Tensor,
        previous_actions_MEA: Tensor,
        previous_rewards_ME: Tensor,
        first_ME: Tensor,
        noise_MEA: Tensor | None,
    ) -> tuple[ActionStep, AdaptedParameters]:
        distribution = self.policy(state.params_M, obs_MEO)
        if noise_MEA is None:
            actions = distribution.mode
        else:
            actions = distribution.sample(noise_MEA.to(self.device, self.dtype))
        return ActionStep(actions, distribution.log_prob(actions)), state

    def adapt(self, state: AdaptedParameters, rollouts: Rollouts) -> AdaptedParameters:
        adapted = {name: torch.empty_like(value) for name, value in state.params_M.items()}
        num_tasks = rollouts.obs_MEHO.shape[0]
        for first in range(0, num_tasks, self.config.task_chunk):
            chunk = slice(first, first + self.config.task_chunk)
            params = {name: value[chunk] for name, value in state.params_M.items()}
            batch = make_batch(rollouts.task_slice(chunk), self.config.advantages)
            for name, value in self.inner.step(params, batch, state.steps).items():
                adapted[name][chunk] = value
        return replace(state, params_M=adapted, steps=state.steps + 1)

    def iterate(self, collect: Collect, tasks: Mapping[str, np.ndarray]) -> Metrics:
        state = self.begin(len(next(iter(tasks.values()))), 0)
        adapted, rollouts = [state.params_M], []
        for _ in range(self.config.inner.steps):
            support, state = collect(state)
            state = self.adapt(state, support)
            adapted.append(state.params_M)
            rollouts.append(support)
        query, state = collect(state)
        objective = MetaObjective(
            self.inner,
            self._theta,
            adapted,
            [make_batch(support, self.config.advantages) for support in rollouts],
            make_batch(query, self.config.advantages),
            self.config.task_chunk,
            self.config.outer.fisher_fraction,
        )
        result = trust_region_step(objective, self._theta, self.config.outer)
        assert all_finite(result.theta)
        self._theta = result.theta
        return _metrics([*rollouts, query], result)

    @property
    def meta_parameters(self) -> Params:
        return self._theta

    def load_meta_parameters(self, params: Mapping[str, Tensor]) -> None:
        self._theta = {
            name: value.detach().to(self.device, self.dtype).clone()
            for name, value in params.items()
        }


def _metrics(rollouts: list[Rollouts], result: StepResult) -> Metrics:
    metrics: Metrics = {}
    for step, phase in enumerate(rollouts):
        metrics[f"train/return_step_{step}"] = float(phase.returns_ME.mean())
    metrics |= {
        "train/diverged": float(sum(int(phase.diverged_ME.sum()) for phase in rollouts)),
        "train/gradient_norm": result.gradient_norm,
        "train/surrogate_gain": result.gain,
        "train/kl": result.kl,
        "train/backtracks": float(result.backtracks),
        "train/step_accepted": float(not result.rejected),
        "train/rejected_because": result.rejected,
    }
    if "log_std" in result.theta:
        metrics["train/log_std"] = float(result.theta["log_std"].mean())
    return metrics
