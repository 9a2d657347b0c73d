"""Films of a policy before and after adaptation."""

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import imageio
import numpy as np
from PIL import Image, ImageDraw

from metarl.adapted_policy import AdaptedPolicy, adapt
from metarl.errors import ConfigError, EnvironmentFitError, UserError
from metarl.files import require_writable
from metarl.learners.base import MetaLearner
from metarl.reports.episode import played, title
from metarl.trained_env import make_env, training_of
from metarl_envs.errors import one_line

_STILL = ".png"
_SUFFIXES = (".mp4", ".gif", _STILL)
_MOMENTS, _SMALL = 5, 240  # of a picture: moments, and pixels of each
_MOST_FPS = 30  # a robot controlled more often is drawn in every second step, or every third, ...
_LINE, _NUMBERS = 16, 4  # pixels of a caption, numbers of a task in it


def record(
    learner: MetaLearner,
    task: Mapping[str, Any],
    output: str | Path,
    *,
    adaptation_steps: int = 1,
    episodes: int = 20,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
) -> dict[int, float]:
    """Film one episode before and one after adaptation, side by side; see `record_grid`.

    Returns:
        The return of each filmed episode, by number of adaptation steps.
    """
    settings = {"adaptation_steps": adaptation_steps, "episodes": episodes, "seed": seed}
    return record_grid(learner, [task], output, **settings, env_kwargs=env_kwargs)[0]


def record_grid(
    learner: MetaLearner,
    tasks: Sequence[Mapping[str, Any]],
    output: str | Path,
    *,
    adaptation_steps: int = 1,
    episodes: int = 20,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
) -> list[dict[int, float]]:
    """Film a row for each task: one episode before and one after adaptation, side by side.

    All episodes start in the same state and use the most likely actions; one that ends early stands
    still. Captions tell the task, the adaptation step and the return so far. The file is written
    whole or not at all.

    Args:
        learner: a trained meta-learner.
        tasks: of the environment it was trained on.
        output: an .mp4 or .gif file; a .png holds moments of the episodes, from left to right.
        adaptation_steps: steps behind the second episode.
        episodes: rollouts per adaptation step.
        seed: of adaptation and of the initial state.
        env_kwargs: constructor arguments; those of training by default.

    Returns:
        For each task the return of each filmed episode, by number of adaptation steps.

    Raises:
        UserError: if a task, the file name or the environment does not serve.
    """
    output = _checked(tasks, output)
    returns, films, fps = list[dict[int, float]](), list[list[_Film]](), 0.0
    for task in tasks:
        made = make_env(learner, task, render_mode="rgb_array", env_kwargs=env_kwargs)
        with closing(made) as env:
            found, row = dict[int, float](), list[_Film]()
            for steps in sorted({0, adaptation_steps}):
                policy = adapt(learner, env, episodes=episodes, steps=steps, seed=seed)
                row.append(_Film(_film(env, policy, seed), title(steps), task))
                found[steps] = row[-1].frames[-1][1]
            fps = _fps(env)
        returns.append(found)
        films.append(row)
    _write(films, output, fps)
    return returns


class Filmed(NamedTuple):
    """A method of a film.

    Attributes:
        learner: a trained meta-learner.
        adaptation_steps: before the episode.
        episodes: rollouts per adaptation step.
    """

    learner: MetaLearner
    adaptation_steps: int = 1
    episodes: int = 20


def record_methods(
    methods: Mapping[str, Filmed],
    task: Mapping[str, Any],
    output: str | Path,
    *,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    sampled: bool = False,
    width: int | None = None,
) -> dict[str, float]:
    """Film the same task with each of several methods, side by side, after adaptation.

    All episodes start in the same state; one that ends early stands still. The file is written
    whole or not at all.

    Args:
        methods: of one environment, by the name in the caption.
        task: of the environment that they were trained on.
        output: an .mp4 or .gif file; a .png holds moments of the episodes, a row for each.
        seed: of adaptation, of the initial state and of sampled actions.
        env_kwargs: constructor arguments; those of training by default.
        sampled: show sampled actions, in place of the likeliest ones.
        width: pixels of each method; as the environment draws by default.

    Returns:
        The return of each filmed episode, by method.

    Raises:
        UserError: if the task, the file name or an environment does not serve.
    """
    output = _checked([task], output)
    if not methods:
        raise ConfigError("name a method to film")
    of_env = {training_of(method.learner).env.id: name for name, method in methods.items()}
    if len(of_env) > 1:
        about = ", ".join(f"{name} is of {env_id}" for env_id, name in of_env.items())
        raise ConfigError(f"methods of one environment, please: {about}")
    row, fps = list[_Film](), 0.0
    for name, (learner, steps, episodes) in methods.items():
        made = make_env(learner, task, render_mode="rgb_array", env_kwargs=env_kwargs)
        with closing(made) as env:
            policy = adapt(learner, env, episodes=episodes, steps=steps, seed=seed)
            row.append(_Film(_film(env, policy, seed, sampled), name, task))
            fps = _fps(env)
    _write([row], output, fps, width)
    return {film.name: film.frames[-1][1] for film in row}


def _checked(tasks: Sequence[Mapping[str, Any]], output: str | Path) -> Path:
    """The file, where it and the tasks serve."""
    output = Path(output)
    if output.suffix not in _SUFFIXES:
        raise ConfigError(f"the film must end in {', '.join(_SUFFIXES)}, got {output.name!r}")
    for task in tasks:
        if not isinstance(task, Mapping):
            raise ConfigError(f"the task must be a mapping from key to value, got {task!r}")
    if not tasks:
        raise ConfigError("name a task to film")
    require_writable(output)
    return output


class _Film(NamedTuple):
    frames: list[tuple[np.ndarray, float]]  # and the return up to each
    name: str
    task: Mapping[str, Any]

    def at(self, t: int, width: int | None = None) -> np.ndarray:
        """A captioned frame, the last one after the end."""
        frame, total = self.frames[min(t, len(self.frames) - 1)]
        picture = Image.fromarray(np.ascontiguousarray(frame))
        if width is not None:
            picture = picture.resize((width, width * picture.height // picture.width))
        return _captioned(picture, f"{self.name}: return {total:.1f}", self.task)


def _write(
    films: Sequence[Sequence[_Film]], output: Path, fps: float, width: int | None = None
) -> None:
    """Write rows of films as one film, or as one picture."""
    longest = max(len(film.frames) for row in films for film in row)
    temporary = output.with_name(f".writing-{output.name}")
    if output.suffix == _STILL:
        moments = np.linspace(0, longest - 1, _MOMENTS).astype(int)
        flat = [film for row in films for film in row]
        picture = _grid([[film.at(t, _SMALL) for t in moments] for film in flat])
        Image.fromarray(picture).save(temporary)
    else:
        frames = [
            _grid([[film.at(t, width) for film in row] for row in films]) for t in range(longest)
        ]
        # GIFs know the milliseconds of a frame, films the frames of a second
        if output.suffix == ".gif":
            imageio.mimwrite(temporary, [*frames], duration=1000 / fps)
        else:
            imageio.mimwrite(temporary, [*frames], fps=fps)
    os.replace(temporary, output)


def _grid(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)


def _film(
    env: gymnasium.Env, policy: AdaptedPolicy, seed: int, sampled: bool = False
) -> list[tuple[np.ndarray, float]]:
    """Frames of an episode, the last step's among them, and the return up to each."""
    frames, every = list[tuple[np.ndarray, float]](), _steps_per_frame(env)
    step, total = 0, 0.0
    for step, total in enumerate(islice(played(env, policy, seed, sampled), 1, None), start=1):
        if step % every == 0:
            frames.append((drawn(env), total))
    if step % every:
        frames.append((drawn(env), total))
    return frames


def _steps_per_frame(env: gymnasium.Env) -> int:
    return math.ceil(_controlled(env) / _MOST_FPS)


def _fps(env: gymnasium.Env) -> float:
    return _controlled(env) / _steps_per_frame(env)


def _controlled(env: gymnasium.Env) -> float:
    """Steps per second."""
    found = env.metadata["render_fps"]
    if not found > 0:
        raise EnvironmentFitError(f"the environment's render_fps is {found}, must be positive")
    return float(found)


def drawn(env: gymnasium.Env) -> np.ndarray:
    """A picture of the environment.

    Raises:
        UserError: if it draws none.
    """
    try:
        frame = env.render()
    except UserError:
        raise
    except Exception as error:  # of whatever kind a missing library makes it raise
        raise EnvironmentFitError(f"the environment draws no picture: {one_line(error)}") from error
    if not isinstance(frame, np.ndarray):
        raise EnvironmentFitError("the environment rendered no picture")
    return frame


def _captioned(picture: Image.Image, heading: str, task: Mapping[str, Any]) -> np.ndarray:
    """The picture, with the heading above and the task below it."""
    draw = ImageDraw.Draw(picture)
    about = ", ".join(f"{key} {_short(value)}" for key, value in task.items())
    for text, place in ((heading, (4, 4)), (about, (4, picture.height - _LINE))):
        draw.text(place, text, fill="white", stroke_fill="black", stroke_width=2)
    return np.asarray(picture)


def _short(value: Any) -> str:
    """Some numbers of a task."""
    numbers = np.ravel(value)
    shown = " ".join(f"{number:.3g}" for number in numbers[:_NUMBERS])
    return f"{shown} ..." if len(numbers) > _NUMBERS else shown
