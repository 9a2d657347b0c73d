"""Variations of the actuators: weaker, dead, late."""

from abc import ABC
from collections.abc import Mapping, Sequence

import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.parts.base import Simulations, TaskPart, TaskValue
from metarl_envs.parts.variations.base import RangeVariation
from metarl_envs.tasks.batches import Tasks
from metarl_envs.tasks.distributions import ListTasks
from metarl_envs.tasks.splits import Splits


class Strength(RangeVariation, ABC):
    """Factors on the forces of the actuators, 1 as built, 0 dead.

    Args:
        low: weakest in training; extrapolation goes down to 0.
    """

    def __init__(self, low: float) -> None:
        super().__init__(
            "actuator_strength", low, 1.0, outer=(0.0, 1.0), bounds=(0.0, 1.0), nominal=1.0
        )

    def prepare(self, simulations: Simulations) -> None:
        self._shape = (simulations.model.nu,)

    def _apply(self, simulations: Simulations, values: np.ndarray, rows: np.ndarray) -> None:
        simulations.field("actuator_gainprm")[rows] *= values[:, :, None]
        simulations.field("actuator_biasprm")[rows] *= values[:, :, None]


class ActuatorStrength(Strength):
    """Strength of every actuator, 1 as built, 0 dead: `{"actuator_strength": factors}`.

    Args:
        low: weakest in training; extrapolation goes down to 0.
    """

    def __init__(self, low: float = 0.4) -> None:
        super().__init__(low)


class DeadActuators(Strength):
    """One actuator (or group, such as a leg) is dead: `{"actuator_strength": zeros and ones}`.

    The crippled-leg setting of Nagabandi et al. 2019 (arXiv 1803.11347): training sees all groups
    die but the held-out ones, the test the held-out ones.

    Args:
        groups: lists of actuator indices that die together; None for each alone.
        held_out: indices of the groups kept for the test; None for the last.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[int]] | None = None,
        held_out: Sequence[int] | None = None,
    ) -> None:
        super().__init__(low=0.0)
        self._groups, self._held_out = groups, held_out

    def prepare(self, simulations: Simulations) -> None:
        super().prepare(simulations)
        size = simulations.model.nu
        groups = [[i] for i in range(size)] if self._groups is None else self._groups
        held_out = [len(groups) - 1] if self._held_out is None else list(self._held_out)
        inside = all(0 <= i < size for group in groups for i in group)
        known = set(held_out) <= set(range(len(groups)))
        if not inside or not known or not 0 < len(set(held_out)) < len(groups):
            raise EnvironmentConfigError(
                f"groups must hold actuator indices below {size}, and held_out some but not all "
                f"of the {len(groups)} groups; got {groups} and {held_out}"
            )
        strengths = np.ones((len(groups), size))
        for strength, group in zip(strengths, groups, strict=True):
            strength[list(group)] = 0.0
        kept = [i for i in range(len(groups)) if i not in held_out]
        self._lists = {"train": strengths[kept], "test": strengths[held_out]}

    def splits(self) -> Splits:
        return {split: ListTasks({self._key: values}) for split, values in self._lists.items()}


class ActionDelay(TaskPart):
    """Actions arrive some control steps late: `{"action_delay": steps}`.

    Until the first one arrives the actuators get zeros. Training has the even delays up to
    `max_steps`, the test the odd ones, extrapolation the two beyond.

    Args:
        max_steps: longest delay in training and test, at least 1.
    """

    def __init__(self, max_steps: int = 4) -> None:
        if max_steps < 1:
            raise EnvironmentConfigError(f"action_delay needs max_steps >= 1, got {max_steps}")
        self._max = max_steps

    def prepare(self, simulations: Simulations) -> None:
        self._pending = np.zeros((self._max + 3, simulations.num_envs, simulations.model.nu))
        self._delays = np.zeros(simulations.num_envs, np.int64)

    @property
    def spaces(self) -> Mapping[str, spaces.Space]:
        return {"action_delay": spaces.Discrete(self._max + 3)}

    @property
    def nominal(self) -> Mapping[str, TaskValue]:
        return {"action_delay": 0}

    def splits(self) -> Splits:
        delays = {
            "train": np.arange(0, self._max + 1, 2),
            "test": np.arange(1, self._max + 1, 2),
            "extrapolation": np.array([self._max + 1, self._max + 2]),
        }
        return {split: ListTasks({"action_delay": values}) for split, values in delays.items()}

    def apply(self, simulations: Simulations, tasks: Tasks, rows: np.ndarray) -> None:
        self._delays[rows] = tasks["action_delay"]

    def reset(
        self, simulations: Simulations, rows: np.ndarray, generators: list[np.random.Generator]
    ) -> None:
        self._pending[:, rows] = 0.0

    def act(self, simulations: Simulations, control: np.ndarray) -> np.ndarray:
        self._pending = np.roll(self._pending, 1, axis=0)
        self._pending[0] = control
        return self._pending[self._delays, np.arange(simulations.num_envs)]
