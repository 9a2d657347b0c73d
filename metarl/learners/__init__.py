"""Meta-learners, by the name that configs use. A new one is one file and one line here."""

from metarl.learners.base import MetaLearner
from metarl.learners.maml import MAML

LEARNERS: dict[str, type[MetaLearner]] = {
    "maml": MAML,
}

__all__ = ["LEARNERS", "MetaLearner"]
