"""Meta-train from a YAML config, then evaluate on held-out tasks.

metarl train configs/half_cheetah_vel/maml_trpo.yaml meta_batch=20 seed=1
metarl train --resume --run-dir runs/x iterations=2000     # goes on as it was begun
"""

import argparse
from datetime import datetime
from pathlib import Path

import metarl
from metarl.errors import ConfigError
from metarl.experiment.trust import require_trust
from metarl.experiment.world import this_world
from metarl.training.callbacks import WeightsAndBiases


def main(arguments: argparse.Namespace) -> None:
    """Parse, load, train."""
    if arguments.resume and arguments.run_dir is None:
        raise ConfigError("--resume needs --run-dir")
    path, overrides = arguments.config, arguments.overrides
    if arguments.resume and (path is None or "=" in path):
        overrides = [*filter(None, [path]), *overrides]
        path = arguments.run_dir / "config.yaml"
        config = metarl.load_config(path, overrides, interpolate=False)
        require_trust(config, arguments.run_dir, arguments.allow_import)
    elif path is None:
        raise ConfigError("name a config, or --resume --run-dir RUN_DIR")
    else:
        config = metarl.load_config(path, overrides)
    run_dir = arguments.run_dir
    if run_dir is None and this_world().size > 1:
        raise ConfigError("several processes write to one run folder: name it with --run-dir")
    if run_dir is None:
        name = f"{Path(path).parent.name}-{Path(path).stem}-seed{config.seed}"
        run_dir = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    callbacks = [] if arguments.wandb is None else [WeightsAndBiases(arguments.wandb)]
    metarl.train(config, run_dir, resume=arguments.resume, callbacks=callbacks)
