"""The progress bar: speed, time left, and where the time goes."""

from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from metarl.experiment.world import Spent
from metarl.interaction.sampler import Clock


def make_progress(console: Console) -> Progress:
    """A bar over iterations; feed it with `describe`."""
    return Progress(
        TextColumn("meta-training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
        console=console,
        # a terminal redraws; in a file every redraw would be a new line
        disable=not console.is_terminal,
    )


def time_split(clock: Clock, elapsed_s: float, env_steps: int, spent: Spent) -> dict[str, float]:
    """Speed, and the shares of the parts in the time of this process, as metrics.

    The share of the physics is the speed as a part of that of the physics alone.

    Args:
        clock: of this process.
        elapsed_s: seconds.
        env_steps: of all processes.
        spent: on bringing together what processes have.
    """
    env, policy = clock.env_s / elapsed_s, clock.policy_s / elapsed_s
    physics = clock.physics_s / elapsed_s
    communication, waiting = (seconds / elapsed_s for seconds in spent)
    return {
        "time/iteration_s": elapsed_s,
        "time/env_steps_per_s": env_steps / elapsed_s,
        "time/physics": physics,
        "time/environment": env - physics,
        "time/policy": policy,
        "time/communication": communication,
        "time/waiting": waiting,
        "time/learning": 1.0 - env - policy - communication - waiting,
    }


def describe(split: Mapping[str, float | str]) -> str:
    """The metrics of `time_split` in a few words."""
    parts = ["physics", "environment", "policy", "learning"]
    if split["time/communication"]:
        parts += ["communication", "waiting"]
    shares = ", ".join(f"{name} {100 * float(split[f'time/{name}']):.0f} %" for name in parts)
    return f"{float(split['time/env_steps_per_s']):,.0f} steps/s ({shares})"
