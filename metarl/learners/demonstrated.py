"""Which learners adapt to demonstrations, and which to what they live through."""

import numpy as np

from metarl.errors import ConfigError
from metarl.interaction.demonstrations import Demonstrations
from metarl.learners.base import MetaLearner
from metarl_envs.tasks.batches import rows_of


def require_demonstrations(learner: MetaLearner, demonstrations: Demonstrations | None) -> None:
    """Refuse demonstrations for learners that adapt to none, and none for those that do.

    Raises:
        ConfigError: with what to give.
    """
    if learner.adapts_to_demonstrations and demonstrations is None:
        raise ConfigError("this learner adapts to demonstrations: give it demonstrations=...")
    if demonstrations is None:
        return
    if not learner.adapts_to_demonstrations:
        raise ConfigError("this learner adapts to its own rollouts, not to demonstrations")
    if not isinstance(demonstrations, Demonstrations):
        raise ConfigError("demonstrations are what metarl.load_demonstrations gives")
    if not min(demonstrations.num_tasks, demonstrations.episodes):
        raise ConfigError("there are no demonstrations in these")
    spec, rollouts = learner.spec, demonstrations.rollouts
    for kind, found, wanted in (
        ("observations", rollouts.obs_MEHO.shape[-1], spec.obs_size),
        ("actions", rollouts.actions_MEHA.shape[-1], spec.action_size),
    ):
        if found != wanted:
            raise ConfigError(
                f"demonstrations have {kind} of size {found}, the learner was trained with {wanted}"
            )


def shown_to(learner: MetaLearner, demonstrations: Demonstrations) -> None:
    """Note the tasks that training shows a learner.

    Raises:
        ConfigError: if it was shown others before, or an episode too few of each.
    """
    trained = learner.trained_on
    assert trained is not None
    have, needed = demonstrations.episodes, learner.fewest_demonstrations
    if have < needed:
        raise ConfigError(
            f"tasks.demonstrations has {have} episodes per task, this learner needs {needed}: "
            "what it adapts to, and another one to imitate"
        )
    if trained.tasks is not None:
        before, now = rows_of(trained.tasks), rows_of(demonstrations.tasks)
        if before.shape != now.shape or not np.array_equal(before, now):
            raise ConfigError("tasks.demonstrations shows other tasks than when this run began")
    learner.trained_on = trained._replace(tasks=demonstrations.tasks)
