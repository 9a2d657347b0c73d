"""Demonstrations as Minari datasets, the format of the Farama Foundation.

A folder holds one dataset: an episode's metadata has its task under the key "task", in JSON.
Datasets of others are read alike if they have it. Needs `pip install metarl-robotics[minari]`.
Shapes: M tasks, E episodes per task, H steps, T steps of one episode, O observation, A action.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from gymnasium import spaces

from metarl.environments.fit import Spec, require_fit
from metarl.errors import ConfigError, EnvironmentFitError
from metarl.interaction.demonstrations import UNKNOWN_SPLIT, Demonstrations
from metarl.interaction.rollouts import Rollouts
from metarl.policies.arrays import to_array, to_tensor
from metarl_envs.errors import UserError, one_line
from metarl_envs.memory import require_memory
from metarl_envs.tasks.batches import batch_of_one, check_tasks, concatenate, take, to_json

if TYPE_CHECKING:
    from minari.data_collector.episode_buffer import EpisodeBuffer

_DATA, _TASK, _SPLIT = "data", "task", "split"


# What an episode of another make can raise
_DAMAGE = (ValueError, TypeError, LookupError)


class _Episode(NamedTuple):
    obs: np.ndarray  # (T + 1, O)
    actions: np.ndarray  # (T, A)
    rewards: np.ndarray  # (T,)
    terminated: bool


def _minari() -> None:
    try:
        import minari  # noqa: F401
    except ImportError:
        raise ConfigError(
            "demonstrations are Minari datasets: pip install metarl-robotics[minari]"
        ) from None


def write_demonstrations(
    demonstrations: Demonstrations,
    folder: str | Path,
    observation_space: spaces.Space,
    action_space: spaces.Space,
    about: Mapping[str, str],
) -> None:
    """Write a dataset, whole or not at all.

    Args:
        demonstrations: what to write.
        folder: where; must not exist yet.
        observation_space: of the environment.
        action_space: of the environment.
        about: "algorithm_name", "description" and other metadata of the dataset.

    Raises:
        ConfigError: if the folder exists, or Minari is not installed.
    """
    _minari()
    from minari import __version__
    from minari.dataset.minari_storage import MinariStorage

    folder = Path(folder).absolute()
    require_new(folder)
    temporary = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(temporary, ignore_errors=True)  # of a recording that was killed
    (temporary / _DATA).mkdir(parents=True, exist_ok=True)
    storage = MinariStorage.new(temporary / _DATA, observation_space, action_space)
    named = {"dataset_id": f"{folder.name.replace('_', '-')}-v0", "minari_version": __version__}
    storage.update_metadata({**named, **about, _SPLIT: demonstrations.split})
    storage.update_episodes(_buffers(demonstrations, action_space))
    tasks = [
        {_TASK: json.dumps({k: v[0] for k, v in to_json(take(demonstrations.tasks, [m])).items()})}
        for m in range(demonstrations.num_tasks)
        for _ in range(demonstrations.episodes)
    ]
    storage.update_episode_metadata(tasks)
    temporary.rename(folder)


def require_new(folder: Path) -> None:
    """Refuse a folder that exists.

    Raises:
        ConfigError: if it does.
    """
    if folder.exists():
        raise ConfigError(f"{folder} exists: remove it, or name another folder")


def _buffers(
    demonstrations: Demonstrations, action_space: spaces.Space
) -> "Iterable[EpisodeBuffer]":
    from minari.data_collector.episode_buffer import EpisodeBuffer

    rollouts, discrete = demonstrations.rollouts, isinstance(action_space, spaces.Discrete)
    for m in range(demonstrations.num_tasks):
        for e in range(demonstrations.episodes):
            length = int(rollouts.lengths_ME[m, e])
            obs = [*to_array(rollouts.obs_MEHO[m, e, :length])]
            actions = to_array(rollouts.actions_MEHA[m, e, :length])
            ends = np.arange(length) == length - 1
            terminated = bool(rollouts.terminated_ME[m, e])
            yield EpisodeBuffer(
                observations=[*obs, to_array(rollouts.last_obs_MEO[m, e])],
                actions=[*(actions[:, 0].astype(np.int64) if discrete else actions)],
                rewards=to_array(rollouts.rewards_MEH[m, e, :length]).tolist(),
                terminations=(ends & terminated).tolist(),
                truncations=(ends & (not terminated)).tolist(),
            )


def read_demonstrations(
    folder: str | Path,
    spec: Spec,
    task_space: spaces.Dict,
) -> Demonstrations:
    """Read a dataset; of tasks with more episodes than others, the first ones.

    Args:
        folder: of the dataset, or the folder named data inside it.
        spec: observations and actions that it must have.
        task_space: of the environment.

    Raises:
        ConfigError: if it is no dataset, or has no tasks, or Minari is not installed.
        EnvironmentFitError: if its observations or actions have other sizes.
    """
    _minari()
    from minari.dataset.minari_storage import MinariStorage

    folder = Path(folder)
    data = folder / _DATA if (folder / _DATA).is_dir() else folder
    try:
        storage = MinariStorage.read(data)
        found = list(storage.get_episodes(range(storage.total_episodes)))
        metadata = list(storage.get_episode_metadata(range(storage.total_episodes)))
        seen, acted = storage.observation_space, storage.action_space
        split = str(storage.metadata.get(_SPLIT, UNKNOWN_SPLIT))
    except Exception as error:  # of whatever kind a broken file makes Minari and HDF5 raise
        raise ConfigError(f"{folder} is no Minari dataset: {one_line(error)}") from None
    _require_spaces(folder, seen, acted, spec)
    if not found:
        raise ConfigError(f"{folder} has no episodes")
    grouped = dict[str, list[_Episode]]()
    for index, (episode, about) in enumerate(zip(found, metadata, strict=True)):
        where = f"episode {index} of {folder}"
        task = _task(where, about, task_space)
        try:
            grouped.setdefault(task, []).append(_checked(where, episode, spec))
        except _DAMAGE as error:
            raise ConfigError(f"{where} is damaged: {one_line(error)}") from None
    count = min(len(episodes) for episodes in grouped.values())
    tasks = [check_tasks(task_space, batch_of_one(json.loads(task))) for task in grouped]
    rollouts = _rollouts([episodes[:count] for episodes in grouped.values()], spec)
    single = rollouts.map(lambda v: v.float() if v.is_floating_point() else v)
    return Demonstrations(concatenate(tasks), single, split)


def read_if_given(folder: str | None, spec: Spec, task_space: spaces.Dict) -> Demonstrations | None:
    """`read_demonstrations` of a folder, None of none."""
    return None if folder is None else read_demonstrations(folder, spec, task_space)


def _require_spaces(
    folder: Path, observations: spaces.Space, actions: spaces.Space, spec: Spec
) -> None:
    try:
        require_fit(str(folder), observations, actions, spec)
    except EnvironmentFitError as error:
        raise EnvironmentFitError(f"demonstrations of another environment: {error}") from None


def _task(where: str, about: Mapping[str, object], space: spaces.Dict) -> str:
    """The task of an episode, as JSON with sorted keys."""
    if _TASK not in about:
        raise ConfigError(f"{where} has no task in its metadata (key {_TASK!r}, JSON)")
    try:
        given = about[_TASK]
        task = json.loads(given) if isinstance(given, str | bytes) else given
        checked = check_tasks(space, batch_of_one(task))  # type: ignore[arg-type]
    except (UserError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: {error}") from None
    return json.dumps({key: v[0] for key, v in to_json(checked).items()}, sort_keys=True)


def _checked(where: str, episode: Mapping[str, object], spec: Spec) -> _Episode:
    obs, actions, rewards = (
        _singles(np.asarray(episode[name])) for name in ("observations", "actions", "rewards")
    )
    length = len(rewards)
    if length == 0:
        raise ConfigError(f"{where} has no steps")
    actions = actions.reshape(len(actions), -1)
    wanted = ((length + 1, spec.obs_size), (length, spec.action_size), (length,))
    for name, values, shape in zip(
        ("observations", "actions", "rewards"), (obs, actions, rewards), wanted, strict=True
    ):
        if values.shape != shape:
            raise ConfigError(f"{where}: {name} have shape {values.shape}, expected {shape}")
        if not np.isfinite(values).all():
            raise ConfigError(f"{where}: {name} are not all finite")
    if spec.num_actions and not np.isin(actions, np.arange(spec.num_actions)).all():
        raise ConfigError(f"{where}: actions must be from 0 to {spec.num_actions - 1}")
    taken = actions if spec.num_actions else actions.clip(spec.action_low, spec.action_high)
    return _Episode(obs, taken, rewards, bool(np.asarray(episode["terminations"])[-1]))


def _singles(values: np.ndarray) -> np.ndarray:
    """Numbers in single precision; those beyond it become infinite."""
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{values.dtype} is no type of numbers")
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _rollouts(episodes: Sequence[Sequence[_Episode]], spec: Spec) -> Rollouts:
    """Episodes by task, padded to the longest."""
    shape = (len(episodes), len(episodes[0]))
    longest = max(len(e.rewards) for task in episodes for e in task)
    numbers = spec.obs_size + spec.action_size + 1
    require_memory("demonstrations", 8.0 * shape[0] * shape[1] * longest * numbers)
    obs = np.zeros((*shape, longest, spec.obs_size))
    actions = np.zeros((*shape, longest, spec.action_size))
    rewards, valid = np.zeros((*shape, longest)), np.zeros((*shape, longest), bool)
    for m, task in enumerate(episodes):
        for e, episode in enumerate(task):
            length = len(episode.rewards)
            obs[m, e, :length], obs[m, e, length:] = episode.obs[:-1], episode.obs[-1]
            actions[m, e, :length], rewards[m, e, :length] = episode.actions, episode.rewards
            valid[m, e, :length] = True
    last = np.array([[episode.obs[-1] for episode in task] for task in episodes], float)
    terminated = np.array([[episode.terminated for episode in task] for task in episodes])
    return Rollouts(
        obs_MEHO=to_tensor(obs),
        actions_MEHA=to_tensor(actions),
        rewards_MEH=to_tensor(rewards),
        valid_MEH=to_tensor(valid),
        terminated_ME=to_tensor(terminated),
        diverged_ME=to_tensor(np.zeros(shape, bool)),
        last_obs_MEO=to_tensor(last),
    )
