"""Step again through the diverged episode that a training kept.

metarl replay runs/x
"""

import argparse

from metarl.experiment.config import load_config
from metarl.experiment.trust import require_trust
from metarl.training.diverged import read_diverged, replay


def main(arguments: argparse.Namespace) -> None:
    """Parse, replay, print."""
    episode = read_diverged(arguments.run_dir)
    config = load_config(arguments.run_dir / "config.yaml", interpolate=False)
    require_trust(config, arguments.run_dir, arguments.allow_import)
    print(f"{config.env.id}, iteration {episode.iteration}: {episode.describe()}")
    step, obs = replay(config, episode)
    if step is None:
        print(
            f"no step of the {len(episode.actions)} diverges here: made with other versions, or "
            "lost with a worker that had to be replaced"
        )
    else:
        print(f"step {step} diverges again; the observation before it:\n{obs}")
        print(f"the action:\n{episode.actions[step]}")
