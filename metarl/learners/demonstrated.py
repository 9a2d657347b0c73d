"""Which learners adapt to demonstrations, and which to what they live through."""

from metarl.errors import ConfigError
from metarl.interaction.demonstrations import Demonstrations
from metarl.learners.base import MetaLearner


def require_demonstrations(learner: MetaLearner, demonstrations: Demonstrations | None) -> None:
    """Refuse demonstrations for learners that adapt to none, and none for those that do.

    Raises:
        ConfigError: with what to give.
    """
    if learner.adapts_to_demonstrations and demonstrations is None:
        raise ConfigError("this learner adapts to demonstrations: give it demonstrations=...")
    if demonstrations is not None and not learner.adapts_to_demonstrations:
        raise ConfigError("this learner adapts to its own rollouts, not to demonstrations")
