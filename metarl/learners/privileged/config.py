"""The keys of learners that are told the task in training."""

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from metarl.config_model import ConfigModel
from metarl.learners.memory.config import ChosenInputsConfig, InputName, Memories
from metarl.learners.mirroring import MirroringConfig


class StudentConfig(ConfigModel):
    """How the student learns."""

    learning_rate: PositiveFloat = 1e-3
    """Of Adam."""
    epochs: PositiveInt = 4
    """Passes over the rollouts of an iteration."""
    minibatches: PositiveInt = 4
    """Of each pass, in episodes."""
    max_gradient_norm: PositiveFloat = 1.0
    """Longer gradients are scaled down to it."""


class PrivilegedConfig(ChosenInputsConfig, MirroringConfig):
    """What the configs of learners share that are told the task in training."""

    teacher_iterations: PositiveInt = 150
    """Iterations that train the teacher; the others train the student."""
    latent_size: PositiveInt = 8
    """Numbers that stand for the task, each within -1 and 1."""
    encoder_sizes: tuple[PositiveInt, ...] = (64,)
    """Hidden layers of the encoder of told tasks."""
    memory: Memories = "convolution"
    hidden_size: PositiveInt = 32
    trial_episodes: Literal[1] = 1
    """An episode is all that is remembered in training."""
    inputs: tuple[InputName, ...] = ("observation", "action")
    student: StudentConfig = StudentConfig()

    @property
    def fewest_iterations(self) -> int:
        return self.teacher_iterations + 1
