"""What an evaluation measures on, and what it adapts to where that is not own rollouts.

Shapes: M tasks, E episodes.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from metarl.errors import ConfigError
from metarl.interaction.demonstrations import Demonstrations
from metarl.interaction.rollouts import Rollouts
from metarl.policies.arrays import to_array
from metarl.seeding import Purpose, entropy
from metarl_envs.protocol import TaskEnv
from metarl_envs.tasks.batches import Tasks, check_tasks, take


class SupportDemonstrations(NamedTuple):
    """What an evaluation adapts to where it is not own rollouts.

    Attributes:
        demonstrations: of the tasks, in their order.
        episodes: of each adaptation step.
    """

    demonstrations: Demonstrations
    episodes: int

    def of_step(self, step: int) -> Rollouts:
        """The next ones in each step, from the first one again where there are no more."""
        first, have = step * self.episodes, self.demonstrations.episodes
        index = [(first + episode) % have for episode in range(self.episodes)]
        return self.demonstrations.of_episodes(index).rollouts

    def experience(self, adaptation_steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Different episodes (K+1,) and their steps (K+1, M) behind each adaptation step."""
        seen_K = np.arange(adaptation_steps + 1) * self.episodes
        seen_K = np.minimum(seen_K, self.demonstrations.episodes)
        lengths_ME = to_array(self.demonstrations.rollouts.lengths_ME)
        steps_ME = np.pad(np.cumsum(lengths_ME, axis=1), ((0, 0), (1, 0)))
        return seen_K, steps_ME[:, seen_K].T.astype(float)


def as_batch(tasks: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Tasks that a user chose as arrays with leading axis M.

    Raises:
        ConfigError: if there is none.
    """
    wanted = "tasks must be arrays, one entry per task, by the keys of task_space"
    if not isinstance(tasks, Mapping):
        raise ConfigError(f"{wanted}; got a {type(tasks).__name__}")
    try:
        batch = {key: np.asarray(values, float) for key, values in tasks.items()}
    except (ValueError, TypeError):  # ragged, or no numbers
        raise ConfigError(wanted) from None
    if not batch or any(values.ndim == 0 or not len(values) for values in batch.values()):
        raise ConfigError(wanted)
    return batch


def evaluation_tasks(
    env: TaskEnv,
    split: str,
    num_tasks: int,
    seed: int,
    demonstrations: Demonstrations | None = None,
    chosen: Mapping[str, np.ndarray] | None = None,
) -> Tasks:
    """The chosen tasks; else those of an evaluation with this seed, or that demonstrations show.

    Raises:
        ConfigError: if they show fewer.
    """
    if chosen is not None:
        return check_tasks(env.task_space, chosen)
    if demonstrations is not None:
        if demonstrations.num_tasks < num_tasks:
            raise ConfigError(
                f"demonstrations of {demonstrations.num_tasks} tasks, num_tasks is {num_tasks}"
            )
        return take(demonstrations.tasks, slice(num_tasks))
    return env.task_distribution(split).sample(num_tasks, entropy((seed, Purpose.TASKS)))
