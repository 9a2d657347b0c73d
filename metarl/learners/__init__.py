"""Meta-learners, by the name that configs use. A new one is one file and one line here."""

from metarl.learners.base import MetaLearner
from metarl.learners.emaml import EMAML
from metarl.learners.maml import ANIL, CAVIA, MAML, MetaSGD
from metarl.learners.promp import ProMP
from metarl.learners.reptile import ModelAveraging, MultiTask, RandomInit, Reptile
from metarl.learners.rl2 import RL2

LEARNERS: dict[str, type[MetaLearner]] = {
    "maml": MAML,
    "anil": ANIL,
    "cavia": CAVIA,
    "meta_sgd": MetaSGD,
    "promp": ProMP,
    "emaml": EMAML,
    "reptile": Reptile,
    "rl2": RL2,
    "model_averaging": ModelAveraging,
    "multi_task": MultiTask,
    "random_init": RandomInit,
}

__all__ = ["LEARNERS", "MetaLearner"]
