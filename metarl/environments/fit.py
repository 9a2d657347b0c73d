"""What learners need to know of an environment's spaces, and whether another one fits."""

from typing import NamedTuple

import gymnasium
from gymnasium import Space

from metarl.errors import EnvironmentFitError
from metarl_envs.protocol import TaskEnv
from metarl_envs.tasks.batches import task_size


class Spec(NamedTuple):
    """Observations and actions that a learner is built for."""

    obs_size: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    num_actions: int = 0  # of a Discrete action space; 0 for real vectors
    task_size: int = 0  # numbers of a task, which training alone may see

    @property
    def action_size(self) -> int:
        """A, the number of action dimensions (1, the index, for discrete actions)."""
        return len(self.action_low)

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that one sampled action takes."""
        return self.num_actions or self.action_size


def spec_of_spaces(observations: Space, actions: Space) -> Spec:
    """What a learner needs to know of an environment.

    Raises:
        EnvironmentFitError: if observations or actions are not bounded vectors.
    """
    if not isinstance(observations, gymnasium.spaces.Box) or len(observations.shape) != 1:
        raise EnvironmentFitError(
            f"the observation space must be a vector (Box), got {observations}"
        )
    size = observations.shape[0]
    if isinstance(actions, gymnasium.spaces.Discrete):
        count = int(actions.n)
        return Spec(size, (0.0,), (count - 1.0,), count)
    if not isinstance(actions, gymnasium.spaces.Box) or len(actions.shape) != 1:
        raise EnvironmentFitError(f"the action space must be a vector (Box), got {actions}")
    if not actions.is_bounded():
        raise EnvironmentFitError(f"the action space must be bounded, got {actions}")
    low, high = (tuple(bound.tolist()) for bound in (actions.low, actions.high))
    return Spec(size, low, high)


def spec_of_env(env: TaskEnv) -> Spec:
    """What a learner needs to know of a task environment.

    Raises:
        EnvironmentFitError: if observations or actions are not bounded vectors.
    """
    spec = spec_of_spaces(env.single_observation_space, env.single_action_space)
    return spec._replace(task_size=task_size(env.task_space))


def require_fit(name: str, observations: Space, actions: Space, spec: Spec) -> None:
    """Refuse spaces that are not the ones a learner was trained for.

    Raises:
        EnvironmentFitError: if a size or an action bound differs.
    """
    found = spec_of_spaces(observations, actions)
    for kind, have, want in (
        ("observations of size", found.obs_size, spec.obs_size),
        ("discrete actions:", found.num_actions, spec.num_actions),
        ("actions of size", found.action_size, spec.action_size),
        ("actions from", found.action_low, spec.action_low),
        ("actions up to", found.action_high, spec.action_high),
    ):
        if have != want:
            raise EnvironmentFitError(
                f"{name} has {kind} {have}, the learner was trained with {want}; "
                "give the environment the arguments of training (learner.trained_on.env)"
            )
