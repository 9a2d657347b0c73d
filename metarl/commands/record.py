"""Film a trained meta-learner on one task, before and after adapting to it, side by side.

metarl record runs/x --task '{"target_velocity": 2.0}' --output clip.mp4

Without a screen the first of EGL and OSMesa that works draws, or the one that MUJOCO_GL names.
"""

import argparse

import metarl
from metarl.command_line import parsed_json, working
from metarl.reports.video import record_grid


def main(arguments: argparse.Namespace) -> None:
    """Parse, load, adapt, film."""
    tasks = [parsed_json("--task", text) for text in arguments.task]
    learner = metarl.load(arguments.path, trust_imports=arguments.allow_import)
    with working("filming"):
        found = record_grid(
            learner,
            tasks,
            arguments.output,
            adaptation_steps=arguments.adaptation_steps,
            episodes=arguments.episodes,
            seed=arguments.seed,
        )
    for text, returns in zip(arguments.task, found, strict=True):
        about = f"{text}: " if len(found) > 1 else ""
        for step, value in returns.items():
            print(f"{about}return after {step} adaptation steps: {value:.1f}")
    print(f"wrote {arguments.output}")
