"""A learner and its environment, small, for tests that drive the interface by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch

import metarl_envs.tasks.batches as task_batches
from metarl.environments.fit import spec_of_env
from metarl.environments.make import make_env
from metarl.experiment.building import build_learner
from metarl.experiment.config import parse_config
from metarl.experiment.world import Alone
from metarl.interaction.demonstrations import Demonstrations
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.sampler import collect
from metarl.learners import LEARNERS
from metarl.learners.base import Iteration
from metarl.learners.dynamics.model import Transitions
from metarl.params import flatten
from metarl.policies.actors import Percept

M, E, H = 3, 4, 12


def tasks_of(name, num_tasks, folder="demonstrations"):
    """The keys of a config about tasks that a learner needs."""
    kind = LEARNERS[name]
    document = {}
    if kind.needs_fixed_tasks:
        document["tasks"] = {"kind": "fixed", "num": num_tasks}
    if kind.needs_demonstrations:
        document["tasks"] = {"kind": "demonstrated", "demonstrations": str(folder)}
    if kind.adapts_to_demonstrations:
        document["evaluation"] = {"demonstrations": str(folder), "num_tasks": num_tasks}
    return document


def quick(name):
    """Keys of a learner that make iterations, or phases of them, few and short."""
    known = LEARNERS[name].Config.model_fields
    few = {"horizon": 3, "candidates": 20, "elites": 4}
    short = {"steps": 4, "candidates": 8, "rounds": 1, "refinements": 1}
    keys = {"gradient_steps": 3, "teacher_iterations": 1, "planner": few, "search": short}
    return {key: value for key, value in keys.items() if key in known}


class SmallRun:
    """M tasks, E episodes, H steps; rollouts of a phase are the same whenever they are made."""

    def __init__(
        self,
        name,
        env_id="metarl/PointNavigation-v0",
        num_tasks=M,
        episodes=E,
        h=H,
        policy=None,
        env_kwargs=None,
        **learner,
    ):
        self.shown = None
        learner = {**quick(name), **learner}
        self.config = parse_config(
            {
                "env": {"id": env_id, "kwargs": env_kwargs or {"action_scale": 10.0}},
                "learner": {"name": name, **learner},
                "policy": policy or {},
                "meta_batch": num_tasks,
                "episodes": episodes,
                "horizon": h,
                "iterations": 1000,
                **tasks_of(name, num_tasks),
            }
        )
        self.env = make_env(self.config.env, num_tasks * episodes, h)
        self.keys, self.h, self.index = list(range(num_tasks)), h, 0
        self.spec = spec_of_env(self.env)
        self.learner = build_learner(self.config, self.spec)
        self.tasks = self.env.task_distribution("train").sample(num_tasks, 0)
        self.env.set_tasks(task_batches.repeat(self.tasks, episodes))
        if LEARNERS[name].needs_demonstrations:
            shown = self.collect(self.begin(), 99)
            shown = replace(shown, actions_MEHA=shown.actions_MEHA.clamp(-1, 1))
            if episodes == 1:
                shown = Rollouts.concatenate_episodes([shown, shown])
            self.shown = Demonstrations(self.tasks, shown)

    @staticmethod
    def of_config(config):
        """Only a learner and its spec, for another environment."""
        env = make_env(config.env, 1, config.horizon)
        spec = spec_of_env(env)
        return SimpleNamespace(learner=build_learner(config, spec), spec=spec)

    def collect(self, state, phase=0, learner=None):
        path = (0, 0, phase)
        learner, told = learner or self.learner, None
        if learner.is_told and getattr(self.env, "changes_in_episodes", False):

            def told():
                return task_batches.rows_of(self.env.tasks_in_force)

        return collect(self.env, learner, state, path, self.keys, self.h, told=told)

    def step(self, state, phase=0, learner=None):
        """The state after rollouts and adaptation."""
        learner = learner or self.learner
        return learner.adapt(state, self.collect(state, phase, learner))

    def iterate(self, times=1):
        """Metrics of the last of some meta-updates; `seen` holds its rollouts."""
        for _ in range(times):
            self.seen = []

            def gather(state):
                self.seen.append(self.collect(state, len(self.seen) + 1))
                return self.seen[-1]

            keys, mirror = self.keys, self.env.mirror if self.learner.needs_mirror else None
            work = Iteration(
                self.index, self.tasks, keys, len(keys), gather, Alone(), self.shown, mirror
            )
            metrics = self.learner.iterate(work)
            self.index += 1
        return metrics

    def begin(self, learner=None):
        return (learner or self.learner).begin(len(self.keys), self.env.num_envs // len(self.keys))


def vector(learner):
    return flatten(learner.meta_parameters).clone()


def tensors(state):
    """All tensors of a state, in order; anything else in it is an error."""
    if state is None:
        return []
    if isinstance(state, torch.Tensor):
        return [state]
    if isinstance(state, dict):
        return [t for key in sorted(state) for t in tensors(state[key])]
    if isinstance(state, tuple | list):
        return [t for part in state for t in tensors(part)]
    assert hasattr(state, "__dataclass_fields__"), f"a state is data, got {type(state)}"
    return [t for field in state.__dataclass_fields__ for t in tensors(getattr(state, field))]


def percept(value=0.0):
    start = np.zeros((M, E, 2), np.float32), np.zeros((M, E), np.float32), np.ones((M, E), bool)
    return Percept(np.full((M, E, 2), value, np.float32), *start)


def check_steps_from_state_to_state(run):
    state = run.step(run.begin())
    whole, rng = run.learner.actor(state), np.random.default_rng(0)
    for t in range(6):
        noise = rng.standard_normal((M, E, run.learner.noise_size)).astype(np.float32)
        seen = percept(0.1 * t)._replace(first_ME=np.full((M, E), t in (0, 3)))
        actor = run.learner.actor(state)
        expected, found = whole.act(seen, noise), actor.act(seen, noise)
        np.testing.assert_allclose(found.actions_MEA, expected.actions_MEA, atol=1e-6)
        state = actor.state


def steps_of(rows, count, seed, valid=None):
    """Random transitions, of 3 observations and 2 actions."""
    g = torch.Generator().manual_seed(seed)
    obs, actions, after, rewards = (
        torch.randn(rows, count, n, generator=g, dtype=torch.float64) for n in (3, 2, 3, 1)
    )
    valid = torch.ones(rows, count) if valid is None else valid
    return Transitions(obs, actions, after, rewards.squeeze(-1), valid)
