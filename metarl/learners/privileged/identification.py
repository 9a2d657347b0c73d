"""System identification: the task whose simulation does what a robot did.

First, for each key of the task in turn, the best of some values that training may draw (all of a
discrete one); then Gauss-Newton steps on the continuous numbers, with derivatives by differences
and the best of many dampings (Levenberg 1944, Marquardt 1963), all candidates of some robots at
once in the native batch. A robot's estimate does not depend on its company. What is random in
every episode (sensor noise, pushes) is left out of simulations and stays as it was guessed; a
simulation starts from one observation, whatever noise that has.

Shapes: R robots, C candidates of each, P numbers of a task, K steps, O observation, A action, D =
K O residuals.
"""

from contextlib import closing
from dataclasses import dataclass

import numpy as np
from gymnasium import spaces
from pydantic import NonNegativeInt, PositiveInt

from metarl.config_model import ConfigModel
from metarl.environments.config import EnvConfig
from metarl.environments.make import make_env
from metarl.errors import EnvironmentFitError
from metarl_envs.protocol import RANDOM_KEYS, SeenStart, TaskEnv
from metarl_envs.tasks.batches import from_rows, rows_of

_TOGETHER = 8  # robots, at most
_DIFFERENCE = 0.02  # of a number's deviation in training
_FARTHEST = 3.0  # deviations: larger residuals count no more, since contacts make some chaotic
_LEAST_STD = 1e-3  # of an observation over candidates; what varies less tells nothing
_DAMPINGS = (-4.0, 2.0)  # powers of ten
_DRAWS = 1000  # of training tasks, for the range and deviation of each number
_SEED = 0


class SearchConfig(ConfigModel):
    """How the task is searched for."""

    steps: PositiveInt = 25
    """Of an episode, from its start, that are explained; then the estimate comes into force."""
    candidates: PositiveInt = 48
    """Tasks that are simulated at once for a robot; more where a task has as many numbers, or a
    discrete one as many values."""
    rounds: NonNegativeInt = 2
    """Over the keys of the task."""
    refinements: NonNegativeInt = 5
    """Gauss-Newton steps."""


@dataclass(frozen=True)
class Lived:
    """What robots did from an episode's start.

    Attributes:
        obs_RKO: observations, one more than actions.
        actions_RKA: actions.
    """

    obs_RKO: np.ndarray
    actions_RKA: np.ndarray

    def padded(self, rows: slice, size: int) -> "Lived":
        """Some robots, the first of them repeated up to so many."""
        index = np.arange(len(self.obs_RKO))[rows]
        index = np.concatenate([index, np.repeat(index[:1], size - len(index))])
        return Lived(self.obs_RKO[index], self.actions_RKA[index])


class Identification:
    """Estimates tasks by simulating candidates.

    Args:
        config: see there.
        env: of training; its task must not be observed.

    Raises:
        UserError: if the task is observed, or the environment cannot be put into the state that an
            observation shows.
    """

    def __init__(self, config: SearchConfig, env: EnvConfig) -> None:
        if env.observe_task:
            raise EnvironmentFitError(
                "learner.name=sysid finds the task out: env.observe_task must be false"
            )
        self.config, self._env_config = config, env
        with closing(self._made(1)) as with_one:
            train = with_one.task_distribution("train")
            self._space = with_one.task_space
        drawn_NP = rows_of(train.sample(_DRAWS, _SEED)).astype(float)
        self._low, self._high, self._std = drawn_NP.min(0), drawn_NP.max(0), drawn_NP.std(0)
        size = drawn_NP.shape[1]
        parts = [self._space[key] for key in sorted(self._space.spaces)]
        values = [int(part.n) for part in parts if isinstance(part, spaces.Discrete)]
        self._width = 1 + max(config.candidates - 1, size, *values)
        self._values_CP = rows_of(train.sample(self._width, _SEED + 1)).astype(float)
        self._columns = list[np.ndarray]()  # of each key
        self._searched, at = np.zeros(size, bool), 0  # by Gauss-Newton
        self._random = np.zeros(size, bool)
        for key in sorted(self._space.spaces):
            part = self._space[key]
            own = np.arange(at, at + int(np.prod(part.shape or ())))
            at += len(own)
            if key in RANDOM_KEYS:
                self._random[own] = True
                continue
            self._columns.append(own)
            if isinstance(part, spaces.Discrete):
                self._values_CP[:, own] = part.start + np.arange(self._width)[:, None] % part.n
            else:
                self._searched[own] = self._std[own] > 0

    def _made(self, num_envs: int) -> TaskEnv:
        env = make_env(self._env_config, num_envs, self.config.steps + 1)
        obs, _ = env.reset(seed=[_SEED] * num_envs)
        if not isinstance(env, SeenStart):
            env.close()
            raise EnvironmentFitError(
                f"learner.name=sysid simulates from what a robot observes, and "
                f"{self._env_config.id} cannot be put into the state that an observation shows"
            )
        env.start_as_seen(obs)
        return env

    def estimates(self, start_RP: np.ndarray, lived: Lived) -> np.ndarray:
        """Numbers of the tasks that explain best what robots did, from a first guess: (R, P)."""
        found_RP = np.array(start_RP, float)
        together = min(_TOGETHER, len(found_RP))
        with closing(self._made(together * self._width)) as env:
            simulated = _Simulated(env, self._space, self._random)
            for first in range(0, len(found_RP), together):
                rows = slice(first, first + together)
                own = found_RP[rows]
                padding = np.repeat(own[:1], together - len(own), axis=0)
                search = _Search(simulated, lived.padded(rows, together), self._width)
                best_RP = self._estimated(search, np.concatenate([own, padding]))
                found_RP[rows] = best_RP[: len(own)]
        return found_RP

    def _estimated(self, search: "_Search", best_RP: np.ndarray) -> np.ndarray:
        everyone = np.arange(len(best_RP))
        search.measure_scale(
            np.broadcast_to(self._values_CP, (len(best_RP), *self._values_CP.shape))
        )
        for _ in range(self.config.rounds):
            for columns in self._columns:
                tried_RCP = np.repeat(best_RP[:, None], self._width, axis=1)
                tried_RCP[:, 1:, columns] = self._values_CP[1:, columns]
                errors_RC = search.errors(tried_RCP)
                best_RP = tried_RCP[everyone, errors_RC.argmin(1)]
        for _ in range(self.config.refinements):
            best_RP = self._refined(search, best_RP)
        return best_RP

    def _refined(self, search: "_Search", best_RP: np.ndarray) -> np.ndarray:
        """After one damped Gauss-Newton step, the best of many dampings; where it is better."""
        chosen = np.flatnonzero(self._searched)
        change_P = _DIFFERENCE * self._std
        signs_RP = np.where(best_RP + change_P > self._high, -1.0, 1.0)
        tried_RCP = np.repeat(best_RP[:, None], self._width, axis=1)
        for index, column in enumerate(chosen):
            tried_RCP[:, index + 1, column] += (signs_RP * change_P)[:, column]
        residuals_RCD = search.residuals(tried_RCP)
        now_RD = residuals_RCD[:, 0]
        moved_RQD = residuals_RCD[:, 1 : len(chosen) + 1] - now_RD[:, None]
        slopes_RQD = moved_RQD / (_DIFFERENCE * signs_RP[:, chosen])[..., None]
        dampings_C = np.logspace(*_DAMPINGS, self._width)
        steps_RCP = np.zeros_like(tried_RCP)
        for row, slopes_QD in enumerate(slopes_RQD):
            curvature, gradient = slopes_QD @ slopes_QD.T, slopes_QD @ now_RD[row]
            damped = curvature + dampings_C[:, None, None] * np.eye(len(chosen))
            steps_RCP[row][:, chosen] = -np.linalg.solve(damped, gradient[:, None])[..., 0]
        stepped_RCP = np.clip(best_RP[:, None] + steps_RCP * self._std, self._low, self._high)
        stepped_RCP[:, :, ~self._searched] = best_RP[:, None, ~self._searched]
        stepped_RCP[:, 0] = best_RP
        return stepped_RCP[np.arange(len(best_RP)), search.errors(stepped_RCP).argmin(1)]


@dataclass(frozen=True)
class _Simulated:
    """Simulates candidates, without what is `random`."""

    env: TaskEnv
    space: spaces.Dict
    random: np.ndarray

    def observations(
        self, tried_RCP: np.ndarray, first: np.ndarray, actions: np.ndarray
    ) -> np.ndarray:
        """After each action, given the first observation and the actions of all: (R, C, K, O)."""
        env, count = self.env, self.env.num_envs
        sure_RCP = np.where(self.random, 0.0, tried_RCP)
        env.set_tasks(from_rows(self.space, sure_RCP.reshape(count, -1)))
        env.reset(seed=[_SEED] * count)
        assert isinstance(env, SeenStart)
        env.start_as_seen(first)
        steps = range(actions.shape[1])
        found = np.stack([env.step(actions[:, t])[0] for t in steps], axis=1)
        return found.reshape(*tried_RCP.shape[:2], *found.shape[1:])


class _Search:
    """Compares simulations of candidates with what was seen of some robots."""

    def __init__(self, simulated: _Simulated, lived: Lived, width: int) -> None:
        self._simulated, self._seen_RKO = simulated, lived.obs_RKO
        self._first = np.repeat(lived.obs_RKO[:, 0], width, axis=0)
        self._actions = np.repeat(lived.actions_RKA, width, axis=0)

    def _observations(self, tried_RCP: np.ndarray) -> np.ndarray:
        return self._simulated.observations(tried_RCP, self._first, self._actions)

    def measure_scale(self, tried_RCP: np.ndarray) -> None:
        """Take the deviation of each observation over these candidates for its scale."""
        std_RO = self._observations(tried_RCP).std(axis=(1, 2))
        self._weights_RO = np.where(std_RO > _LEAST_STD, 1.0 / np.maximum(std_RO, _LEAST_STD), 0.0)

    def residuals(self, tried_RCP: np.ndarray) -> np.ndarray:
        """In deviations, bounded: shape (R, C, D)."""
        away = self._observations(tried_RCP) - self._seen_RKO[:, None, 1:]
        scaled = away * self._weights_RO[:, None, None]
        mean = (scaled[0, 0].size) ** -0.5
        return mean * np.clip(scaled, -_FARTHEST, _FARTHEST).reshape(*tried_RCP.shape[:2], -1)

    def errors(self, tried_RCP: np.ndarray) -> np.ndarray:
        """Mean squares of the residuals: shape (R, C)."""
        residuals_RCD = self.residuals(tried_RCP)
        return np.vecdot(residuals_RCD, residuals_RCD)
