"""Task environments: distributions of MuJoCo tasks behind the Gymnasium interface.

Importing this package registers every environment of `metarl_envs.registration`:

    import gymnasium, metarl_envs
    batch = gymnasium.make_vec("metarl/HalfCheetahVel-v0", num_envs=400)
    env = gymnasium.make("metarl/HalfCheetahVel-v0", task={"target_velocity": 1.4})

The physics engine itself is loaded with the first environment, not with the package.
"""

from metarl_envs.registration import (
    ENVIRONMENTS,
    register_environments,
    register_task_env,
)

__all__ = ["ENVIRONMENTS", "register_environments", "register_task_env"]

register_environments()
