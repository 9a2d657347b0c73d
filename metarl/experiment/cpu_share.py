"""How many threads each of the processes on a machine uses."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from metarl.experiment.world import this_world
from metarl.interaction.threads import arithmetic_threads, num_cpus
from metarl_envs.engine.simulations import physics_threads


@contextmanager
def shared_cpus(threads: int | None = None) -> Iterator[None]:
    """Threads of physics and arithmetic for this process: so many, or its part of the machine."""
    own = threads or (_local_cpus() if this_world().size > 1 else 0)
    with physics_threads(own), arithmetic_threads(own or num_cpus()):
        yield


def _local_cpus() -> int:
    return max(1, num_cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
