"""What the rollouts of a run need of this machine."""

from metarl.experiment.config import ExperimentConfig
from metarl.interaction.sampler import require_rollout_memory
from metarl.learners.base import MetaLearner


def require_memory_of(config: ExperimentConfig, learner: MetaLearner) -> None:
    """Refuse rollouts, of training and evaluation, that this machine's memory cannot hold.

    Raises:
        MemoryNeedError: with the estimate.
    """
    settings = config.evaluation
    measured = settings.adaptation_steps + 1
    for num_tasks, episodes, times in (
        (config.meta_batch, config.episodes, 1),
        (settings.num_tasks, settings.episodes, measured),
        (settings.num_tasks, settings.support_episodes or 1, measured),
    ):
        require_rollout_memory(learner, num_tasks, episodes, config.horizon, times)
