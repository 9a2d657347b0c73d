"""Meta-train on a Ray cluster, or on the cores of this machine as if it were one.

metarl train_ray configs/half_cheetah_vel/maml_trpo.yaml --num-workers 2 --run-dir runs/x
"""

import argparse

import metarl
from metarl.errors import ConfigError
from metarl.training.on_ray import cluster, train_on_ray
from metarl.training.run_folder import is_unused, make_folder


def main(arguments: argparse.Namespace) -> None:
    """Parse, connect, train."""
    if arguments.num_workers < 1 or arguments.max_failures < 0:
        raise ConfigError("--num-workers must be positive, --max-failures not negative")
    config = metarl.load_config(arguments.config, arguments.overrides)
    if config.meta_batch < arguments.num_workers:
        raise ConfigError(
            f"meta_batch = {config.meta_batch} tasks cannot be shared by {arguments.num_workers} "
            "workers: start fewer, or raise it"
        )
    run_dir = arguments.run_dir
    if not arguments.resume and not is_unused(run_dir):
        raise ConfigError(f"run folder {run_dir} is not empty: --resume it or name another one")
    make_folder(run_dir)
    with cluster(arguments.address):
        train_on_ray(config, run_dir, arguments.num_workers, arguments.max_failures)
