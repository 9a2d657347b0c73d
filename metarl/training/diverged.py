"""Episodes whose simulation diverged: kept in the run folder, to be looked at again.

Shapes: M tasks, E episodes, T steps up to the one that diverged, A action.
"""

import json
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, NonNegativeInt, ValidationError, model_validator

from metarl.config_model import ConfigModel
from metarl.environments.make import make_env
from metarl.errors import ConfigError
from metarl.experiment.config import ExperimentConfig
from metarl.interaction.rollouts import Rollouts
from metarl.policies.arrays import to_array
from metarl.seeding import Path as StreamPath
from metarl.seeding import reset_seeds
from metarl.training.task_sources import KeyedTasks
from metarl_envs.tasks.batches import take, to_json

FILE = "diverged.json"
_LARGEST_FILE = 2**26


class DivergedEpisode(ConfigModel):
    """All that it takes to step through an episode again.

    Attributes:
        iteration: of the run.
        task: the task, each value in a list of one.
        reset_seed: of the initial state.
        step: at which the simulation diverged, counted from 0.
        actions: up to that step, as the policy gave them: shape (T, A).
    """

    iteration: NonNegativeInt
    task: dict[str, Annotated[list[Any], Field(min_length=1, max_length=1)]]
    reset_seed: NonNegativeInt
    step: NonNegativeInt
    actions: list[list[float]] = Field(min_length=1)

    @model_validator(mode="after")
    def _ends_with_the_step(self) -> "DivergedEpisode":
        if self.step != len(self.actions) - 1:
            raise ValueError(f"step {self.step} is not the last of {len(self.actions)} actions")
        return self

    def describe(self) -> str:
        """Task, seed and step in a few words."""
        task = ", ".join(f"{key} = {value[0]}" for key, value in self.task.items())
        return f"task {task}, seed {self.reset_seed}, step {self.step}"


def first_diverged(
    rollouts: Rollouts, tasks: KeyedTasks, path: StreamPath, iteration: int
) -> DivergedEpisode | None:
    """The first diverged episode of rollouts, or None.

    Args:
        rollouts: of these tasks.
        tasks: see there.
        path: the stream of random numbers that the rollouts were drawn from.
        iteration: of the run.
    """
    diverged_ME = to_array(rollouts.diverged_ME)
    if not diverged_ME.any():
        return None
    task, episode = np.argwhere(diverged_ME)[0].tolist()
    step = int(rollouts.lengths_ME[task, episode])
    seeds = reset_seeds(path, [tasks.keys[task]], diverged_ME.shape[1])
    return DivergedEpisode(
        iteration=iteration,
        task=to_json(take(tasks.tasks, [task])),
        reset_seed=seeds[episode],
        step=step,
        actions=to_array(rollouts.actions_MEHA[task, episode, : step + 1]).tolist(),
    )


def read_diverged(run_dir: Path) -> DivergedEpisode:
    """The episode that a run folder keeps.

    Raises:
        ConfigError: if it keeps none, or the file is not one.
    """
    path = run_dir / FILE
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ConfigError(f"{path} is larger than any episode")
        return DivergedEpisode.model_validate(json.loads(path.read_text()))
    except FileNotFoundError:
        raise ConfigError(f"{run_dir} keeps no diverged episode ({FILE})") from None
    except (ValidationError, OSError, RecursionError, UnicodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path} is no diverged episode: {str(error).splitlines()[0]}") from None


def replay(config: ExperimentConfig, episode: DivergedEpisode) -> tuple[int | None, np.ndarray]:
    """Take the same actions from the same start.

    Returns:
        The step that diverged, or None if none did now; and the last observation before it.

    Raises:
        UserError: if task or actions do not fit the environment.
    """
    with closing(make_env(config.env, 1, config.horizon)) as env:
        size = (env.single_action_space.shape or (1,))[0]
        if any(len(action) != size for action in episode.actions):
            raise ConfigError(f"the actions of {FILE} do not fit {config.env.id}: it takes {size}")
        try:
            env.set_tasks(episode.task)
        except (OverflowError, TypeError, ValueError) as error:
            raise ConfigError(f"the task of {FILE} is none of {config.env.id}: {error}") from None
        obs, _ = env.reset(seed=[episode.reset_seed])
        for step, action in enumerate(episode.actions):
            with np.errstate(over="ignore"):
                taken = np.asarray([action], np.float32)
            after, _, _, _, info = env.step(taken)
            if "diverged" in info and info["diverged"][0]:
                return step, obs[0]
            obs = after
    return None, obs[0]
