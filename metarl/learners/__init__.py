"""Meta-learners, by the name that configs use. A new one is one file and one line here."""

from metarl.learners.base import MetaLearner
from metarl.learners.dynamics.grbal import GrBAL
from metarl.learners.dynamics.rebal import ReBAL
from metarl.learners.gradient.anil import ANIL
from metarl.learners.gradient.cavia import CAVIA
from metarl.learners.gradient.emaml import EMAML
from metarl.learners.gradient.maml import MAML
from metarl.learners.gradient.meta_sgd import MetaSGD
from metarl.learners.gradient.promp import ProMP
from metarl.learners.gradient.reptile import ModelAveraging, Reptile
from metarl.learners.imitation.guided import Guided
from metarl.learners.imitation.imitation import Imitation
from metarl.learners.inference.pearl import PEARL
from metarl.learners.inference.varibad import VariBAD
from metarl.learners.memory.rl2 import RL2
from metarl.learners.metric.prototypes import Prototypes
from metarl.learners.privileged.distillation import Distillation
from metarl.learners.privileged.rma import RMA
from metarl.learners.privileged.sysid import SysId
from metarl.learners.references.domain_randomization import DomainRandomization
from metarl.learners.references.multi_task import MultiTask
from metarl.learners.references.random_init import RandomInit

LEARNERS: dict[str, type[MetaLearner]] = {
    "maml": MAML,
    "anil": ANIL,
    "cavia": CAVIA,
    "meta_sgd": MetaSGD,
    "promp": ProMP,
    "emaml": EMAML,
    "reptile": Reptile,
    "rl2": RL2,
    "pearl": PEARL,
    "varibad": VariBAD,
    "prototypes": Prototypes,
    "rma": RMA,
    "distillation": Distillation,
    "sysid": SysId,
    "grbal": GrBAL,
    "rebal": ReBAL,
    "guided": Guided,
    "imitation": Imitation,
    "model_averaging": ModelAveraging,
    "multi_task": MultiTask,
    "domain_randomization": DomainRandomization,
    "random_init": RandomInit,
}

__all__ = ["LEARNERS", "MetaLearner"]
