"""Meta-train on a Ray cluster, or on the cores of this machine as if it were one.

metarl train_ray configs/half_cheetah_vel/maml_trpo.yaml --num-workers 2 --run-dir runs/x
"""

import argparse

import metarl
from metarl.errors import ConfigError
from metarl.training.on_ray import cluster, train_on_ray
from metarl.training.run_folder import make_folder, require_unused
from metarl.training.same_program import require_task_each


def main(arguments: argparse.Namespace) -> None:
    """Parse, connect, train."""
    if arguments.num_workers < 1 or arguments.max_failures < 0:
        raise ConfigError("--num-workers must be positive, --max-failures not negative")
    config = metarl.load_config(arguments.config, arguments.overrides)
    require_task_each(config, arguments.num_workers)
    if not arguments.resume:
        require_unused(arguments.run_dir)
    with cluster(arguments.address):
        make_folder(arguments.run_dir)
        train_on_ray(config, arguments.run_dir, arguments.num_workers, arguments.max_failures)
