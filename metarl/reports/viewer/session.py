"""What is watched: a learner on one robot, adapted when asked.

Shapes: C numbers of a task.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from metarl.adapted_policy import AdaptedPolicy, LoopState, adapt
from metarl.errors import ConfigError
from metarl.learners.base import MetaLearner
from metarl.reports.viewer.disturbed import Disturbed
from metarl.trained_env import make_env

_SAMPLES = 1000  # tasks whose range the sliders have


class TaskNumber(NamedTuple):
    """One number of a task.

    Attributes:
        key: of the task.
        place: of the number within it, -1 where it is the only one.
        low: least value of training and extrapolation tasks.
        high: largest.
        whole: whether it takes whole numbers only.
    """

    key: str
    place: int
    low: float
    high: float
    whole: bool

    @property
    def name(self) -> str:
        """As shown."""
        return self.key if self.place < 0 else f"{self.key} {self.place}"


class Session:
    """One robot that lives on, episode after episode.

    Args:
        learner: a trained meta-learner.
        task: where it begins; by default one of the held-out tasks.
        episodes: of an adaptation step.
        seed: of everything random.

    Attributes:
        env: the robot, with what has befallen it.
        task: in force.
        steps: adaptation steps so far.
        total: return of the episode under way.
        finished: returns of the episodes that ended, and the adaptation steps behind each.
    """

    def __init__(
        self,
        learner: MetaLearner,
        task: Mapping[str, Any] | None = None,
        *,
        episodes: int = 20,
        seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        if learner.adapts_to_demonstrations:
            raise ConfigError("this learner adapts to demonstrations, which nobody gives here")
        if episodes < 1 or seed < 0:
            raise ConfigError(f"episodes must be positive, seed not negative: {episodes}, {seed}")
        self._learner, self._episodes, self._seed = learner, episodes, seed
        single = make_env(learner, render_mode=render_mode)
        self.env = Disturbed(single)
        self.numbers = _numbers(single)
        if task is None:
            batch = single.task_distribution("test").sample(1, seed)
            task = {key: values[0] for key, values in batch.items()}
        self.steps, self.finished = 0, list[tuple[float, int]]()
        self.policy = self._unadapted()
        self.change_task(task)

    def _unadapted(self) -> AdaptedPolicy:
        state = self._learner.begin(1, 1)
        return AdaptedPolicy(self._learner, state, self.env.action_space, self._seed)

    def forget(self) -> None:
        """Act as before any adaptation, from the start of an episode."""
        self.policy, self.steps = self._unadapted(), 0
        self.restart()

    def change_task(self, task: Mapping[str, Any]) -> None:
        """Give the robot another task; what it has adapted to before stays until it is asked.

        Raises:
            TaskError: if the task is none of its environment.
        """
        self.env.set_task(task)
        self.task = {key: np.asarray(value, float) for key, value in task.items()}
        self.restart()

    def restart(self) -> None:
        """Begin an episode."""
        self._obs, _ = self.env.reset(seed=self._seed)
        self._state: LoopState | None = None
        self._reward, self.total = 0.0, 0.0

    def advance(self) -> bool:
        """One control step of the likeliest action; whether an episode ended and the next began."""
        action, self._state = self.policy.predict(
            self._obs, self._state, deterministic=True, reward=self._reward
        )
        self._obs, reward, terminated, truncated, _ = self.env.step(action)
        self._reward = float(reward)
        self.total += self._reward
        if not (terminated or truncated):
            return False
        self.finished.append((self.total, self.steps))
        self.restart()
        return True

    def adapt(self) -> None:
        """Adapt anew, to the task and the robot as they are now: one adaptation step more."""
        self.steps += 1
        self.policy = adapt(
            self._learner, self.env, episodes=self._episodes, steps=self.steps, seed=self._seed
        )
        self.restart()

    def last_return(self, adapted: bool) -> float | None:
        """Of the newest finished episode before (or after) adaptation, if there was any."""
        found = [value for value, steps in self.finished if (steps > 0) == adapted]
        return found[-1] if found else None

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


def status(session: Session) -> str:
    """Returns before and after adaptation, as Markdown."""

    def shown(adapted: bool) -> str:
        value = session.last_return(adapted)
        return "-" if value is None else f"{value:.1f}"

    return (
        f"adaptation steps: **{session.steps}**, episodes: {len(session.finished)}\n\n"
        f"return before: **{shown(False)}**, after: **{shown(True)}**, now: {session.total:.1f}"
    )


def _numbers(env: Any) -> list[TaskNumber]:
    """All numbers of a task and their ranges."""
    splits = [s for s in ("train", "extrapolation") if s in env.vector_env.task_splits]
    drawn = [env.task_distribution(split).sample(_SAMPLES, 0) for split in splits]
    found = []
    for key in drawn[0]:
        values = np.concatenate([np.asarray(tasks[key], float) for tasks in drawn])
        flat = values.reshape(len(values), -1)
        whole = not np.issubdtype(env.task_space[key].dtype, np.floating)
        alone = flat.shape[1] == 1 and values.ndim == 1
        for index in range(flat.shape[1]):
            low, high = float(flat[:, index].min()), float(flat[:, index].max())
            ends = float(f"{low:.3g}"), float(f"{high:.3g}")
            found.append(TaskNumber(key, -1 if alone else index, *ends, whole))
    return found
