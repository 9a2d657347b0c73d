"""Films of a policy before and after adaptation."""

import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium
import imageio
import numpy as np
from PIL import Image, ImageDraw

from metarl.adapted_policy import AdaptedPolicy, adapt
from metarl.errors import ConfigError, EnvironmentFitError, UserError
from metarl.files import require_writable
from metarl.learners.base import MetaLearner
from metarl.reports.episode import played, title
from metarl.trained_env import make_env
from metarl_envs.errors import one_line

_SUFFIXES = (".mp4", ".gif")
_LINE, _NUMBERS = 16, 4  # pixels of a caption, numbers of a task in it


def record(
    learner: MetaLearner,
    task: Mapping[str, Any],
    output: str | Path,
    *,
    adaptation_steps: int = 1,
    episodes: int = 20,
    seed: int = 0,
) -> dict[int, float]:
    """Film one episode before and one after adaptation, side by side.

    Both episodes start in the same state and use the most likely actions; one that ends early
    stands still. Captions tell the task, the adaptation step and the return so far. The file is
    written whole or not at all.

    Args:
        learner: a trained meta-learner.
        task: the task, of the environment it was trained on.
        output: an .mp4 or .gif file.
        adaptation_steps: steps behind the second episode.
        episodes: rollouts per adaptation step.
        seed: of adaptation and of the initial state.

    Returns:
        The return of each filmed episode, by number of adaptation steps.

    Raises:
        UserError: if the task, the file name or the environment does not serve.
    """
    output = Path(output)
    if output.suffix not in _SUFFIXES:
        raise ConfigError(f"the video must end in {' or '.join(_SUFFIXES)}, got {output.name!r}")
    if not isinstance(task, Mapping):
        raise ConfigError(f"the task must be a mapping from key to value, got {task!r}")
    require_writable(output)
    env = make_env(learner, task, render_mode="rgb_array")
    returns: dict[int, float] = {}
    films = list[list[np.ndarray]]()
    try:
        for steps in sorted({0, adaptation_steps}):
            policy = adapt(learner, env, episodes=episodes, steps=steps, seed=seed)
            film = _film(env, policy, seed)
            name = title(steps)
            films.append([_captioned(f, f"{name}: return {r:.1f}", task) for f, r in film])
            returns[steps] = film[-1][1]
        fps = round(env.metadata["render_fps"])
    finally:
        env.close()
    longest = max(map(len, films))
    frames = [
        np.concatenate([film[min(t, len(film) - 1)] for film in films], axis=1)
        for t in range(longest)
    ]
    temporary = output.with_name(f".writing-{output.name}")
    # GIFs know the milliseconds of a frame, films the frames of a second
    speed = {"duration": 1000 / fps} if output.suffix == ".gif" else {"fps": fps}
    imageio.mimwrite(temporary, [*frames], **speed)  # its list holds arrays of any kind
    os.replace(temporary, output)
    return returns


def _film(env: gymnasium.Env, policy: AdaptedPolicy, seed: int) -> list[tuple[np.ndarray, float]]:
    """Frames of an episode, and the return up to each."""
    frames = list[tuple[np.ndarray, float]]()
    for total in islice(played(env, policy, seed), 1, None):
        frame = _drawn(env)
        if not isinstance(frame, np.ndarray):
            raise EnvironmentFitError("the environment rendered no picture")
        frames.append((frame, total))
    return frames


def _drawn(env: gymnasium.Env) -> object:
    try:
        return env.render()
    except UserError:
        raise
    except Exception as error:  # of whatever kind a missing library makes it raise
        raise EnvironmentFitError(f"the environment draws no picture: {one_line(error)}") from error


def _captioned(frame: np.ndarray, heading: str, task: Mapping[str, Any]) -> np.ndarray:
    """The frame, with the heading above and the task below it."""
    picture = Image.fromarray(np.ascontiguousarray(frame))
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
