"""Film a trained meta-learner on one task, before and after adapting to it, side by side.

python scripts/record.py runs/x --task '{"target_velocity": 2.0}' --output clip.mp4

Without a screen the first of EGL and OSMesa that works draws, or the one that MUJOCO_GL names.
"""

import argparse
import json
from pathlib import Path

import metarl
from metarl.command_line import allow_imports, run
from metarl.errors import ConfigError
from metarl.reports.video import record


def main() -> None:
    """Parse, load, adapt, film."""
    parser = argparse.ArgumentParser(description="Film a policy before and after adaptation.")
    parser.add_argument("path", type=Path, help="run folder, checkpoint folder or zoo:ENV/METHOD")
    parser.add_argument("--task", required=True, help='JSON, such as {"target_velocity": 2.0}')
    parser.add_argument("--output", type=Path, required=True, help="an .mp4 or .gif file")
    parser.add_argument("--adaptation-steps", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=20, help="per adaptation step")
    parser.add_argument("--seed", type=int, default=0)
    allow_imports(parser)
    arguments = parser.parse_args()
    try:
        task = json.loads(arguments.task)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--task is not JSON: {error}") from None
    returns = record(
        metarl.load(arguments.path, trust_imports=arguments.allow_import),
        task,
        arguments.output,
        adaptation_steps=arguments.adaptation_steps,
        episodes=arguments.episodes,
        seed=arguments.seed,
    )
    for step, value in returns.items():
        print(f"return after {step} adaptation steps: {value:.1f}")
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    run(main)
