"""Training on a Ray cluster: the same program, started and started again by Ray.

The one file that knows Ray. Ray Train connects the workers, restarts them where one is lost, and
keeps what they report; everything else is `metarl.train`. The run folder has to lie on a file
system that all machines see: it is what a restart goes on from.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from metarl.errors import ConfigError, TrainingError
from metarl.experiment.checkpoint import newest_whole
from metarl.experiment.config import ExperimentConfig, parse_config
from metarl.experiment.world import BOTH_BACKENDS
from metarl.interaction.threads import num_cpus
from metarl.training.trainer import train

# Has Ray listen on loopback alone, which it does of itself on other systems than Linux
_ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "GLOO_SOCKET_IFNAME": "lo"}
# Ray writes a token into the home folder, and tells its makers of its use, unless it is told not to
_QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """A cluster by its address, or one of this machine alone, without a dashboard, on loopback.

    Raises:
        ConfigError: if Ray is not installed, or there is no cluster at the address.
    """
    chosen = _QUIET if address is not None else {**_QUIET, **_ON_LOOPBACK}
    for name, value in chosen.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise ConfigError("Ray is not installed: pip install 'metarl-robotics[ray]'") from None
    paths = os.pathsep.join(path for path in sys.path if path)
    told = {"env_vars": {"PYTHONPATH": paths, **chosen}}
    try:
        if address is None:
            ray.init(
                "local",
                num_cpus=num_cpus(),
                include_dashboard=False,
                runtime_env=told,
                logging_level=logging.WARNING,
            )
        else:
            ray.init(address, runtime_env=told, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise ConfigError(f"no Ray cluster at {address!r}: {error}") from None
    try:
        yield
    finally:
        ray.shutdown()


def train_on_ray(
    config: ExperimentConfig, run_dir: Path, num_workers: int, max_failures: int
) -> None:
    """`metarl.train` in so many workers of the cluster that this process is connected to.

    Args:
        config: of the run.
        run_dir: its folder; Ray's own files go into `run_dir`/ray, the last checkpoint too.
        num_workers: processes that share each meta-batch, a CPU each.
        max_failures: how often lost workers are started again, from the newest checkpoint.

    Raises:
        TrainingError: if the workers failed more often.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "run_dir": str(run_dir.resolve()),
        },
        torch_config=TorchConfig(backend=BOTH_BACKENDS if config.device == "cuda" else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=num_workers,
            use_gpu=config.device == "cuda",
            resources_per_worker={"CPU": 1},
        ),
        run_config=RunConfig(
            name="ray",
            storage_path=str(run_dir.resolve()),
            failure_config=FailureConfig(max_failures=max_failures),
        ),
    )
    try:
        trainer.fit()
    except Exception as error:  # whatever class this version of Ray raises
        last = str(error).strip().splitlines()[-1:]
        raise TrainingError(f"the workers failed: {' '.join(last)}") from error


def _work(job: Mapping[str, Any]) -> None:
    """What each worker does: go on from what the run folder holds, and report its end."""
    from ray import train as session

    os.environ["LOCAL_WORLD_SIZE"] = str(session.get_context().get_local_world_size())
    run_dir = Path(job["run_dir"])
    result = train(parse_config(job["config"]), run_dir, resume=True, console=Console(width=100))
    first, newest = session.get_context().get_world_rank() == 0, newest_whole(run_dir)
    kept = session.Checkpoint.from_directory(newest.path) if first and newest else None
    session.report({"mean_return": float(result.summary[-1].mean)}, checkpoint=kept)


def in_tasks(function: Callable[..., object], calls: Sequence[tuple[Any, ...]], cpus: int) -> None:
    """Call a function with each of several arguments, as tasks of the cluster.

    Args:
        function: is called.
        calls: its arguments, a tuple for each task.
        cpus: that each task needs.

    Raises:
        TrainingError: once all have ended, with the first one's message if some failed.
    """
    import ray

    remote = ray.remote(function).options(num_cpus=cpus, max_retries=1)
    failures = []
    for task in [remote.remote(*call) for call in calls]:
        try:
            ray.get(task)
        except ray.exceptions.RayError as error:
            failures.append(str(error).strip().splitlines()[-1])
    if failures:
        raise TrainingError(f"{len(failures)} of {len(calls)} runs failed: {failures[0]}")
