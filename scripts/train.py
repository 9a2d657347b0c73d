"""Meta-train from a YAML config, then evaluate on held-out tasks.

python scripts/train.py configs/half_cheetah_vel/maml_trpo.yaml meta_batch=20 seed=1
python scripts/train.py --resume --run-dir runs/x iterations=2000     # goes on as it was begun
"""

import argparse
from datetime import datetime
from pathlib import Path

import metarl
from metarl.command_line import allow_imports, run
from metarl.experiment.trust import require_trust


def main() -> None:
    """Parse, load, train."""
    parser = argparse.ArgumentParser(description="Meta-train from a YAML config.")
    parser.add_argument(
        "config", nargs="?", help="YAML file, see configs/; to resume, the run's own"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. learner.name=maml")
    parser.add_argument("--run-dir", type=Path, help="default: runs/ENV-METHOD-seedN-TIME")
    parser.add_argument("--resume", action="store_true", help="go on from RUN_DIR's checkpoint")
    allow_imports(parser)
    arguments = parser.parse_intermixed_args()
    if arguments.resume and arguments.run_dir is None:
        parser.error("--resume needs --run-dir")
    path, overrides = arguments.config, arguments.overrides
    if arguments.resume and (path is None or "=" in path):
        overrides = [*filter(None, [path]), *overrides]
        path = arguments.run_dir / "config.yaml"
        config = metarl.load_config(path, overrides, interpolate=False)
        require_trust(config, arguments.run_dir, arguments.allow_import)
    elif path is None:
        parser.error("name a config, or --resume --run-dir RUN_DIR")
    else:
        config = metarl.load_config(path, overrides)
    run_dir = arguments.run_dir
    if run_dir is None:
        name = f"{Path(path).parent.name}-{Path(path).stem}-seed{config.seed}"
        run_dir = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    metarl.train(config, run_dir, resume=arguments.resume)


if __name__ == "__main__":
    run(main)
