"""Variations of the actuators: weaker, dead, stuck, late."""

from abc import ABC
from collections.abc import Mapping, Sequence

import mujoco
import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.mirror import Exchange, unchanged
from metarl_envs.parts.base import Simulations, TaskPart, TaskValue
from metarl_envs.parts.variations.base import RangeVariation
from metarl_envs.tasks.batches import Tasks
from metarl_envs.tasks.distributions import ListTasks
from metarl_envs.tasks.splits import Splits

_MOST_SOUND = 0.99  # of the tasks
_FIRMEST = 1e6  # N m
_FIRM = 0.9999  # impedance of the constraint that holds a stuck joint, almost 1


class ActuatorStrength(RangeVariation):
    """Strength of every actuator, 1 as built, 0 dead: `{"actuator_strength": factors}`.

    Args:
        low: weakest in training; extrapolation goes down to 0.
    """

    def __init__(self, low: float = 0.4) -> None:
        super().__init__(
            "actuator_strength", low, 1.0, outer=(0.0, 1.0), bounds=(0.0, 1.0), nominal=1.0
        )

    def prepare(self, simulations: Simulations) -> None:
        self._shape = (simulations.model.nu,)

    def mirrored(self, motors: Exchange) -> Mapping[str, Exchange]:
        return {self._key: motors}

    def _apply(self, simulations: Simulations, values: np.ndarray, rows: np.ndarray) -> None:
        weaken(simulations, values, rows)


def weaken(simulations: Simulations, factors: np.ndarray, rows: np.ndarray) -> None:
    """Scale the forces of actuators and their limits, factors of shape (len(rows), A)."""
    simulations.field("actuator_gainprm")[rows] *= factors[:, :, None]
    simulations.field("actuator_biasprm")[rows] *= factors[:, :, None]
    simulations.field("actuator_forcerange")[rows] *= factors[:, :, None]


def _require_share(sound: float) -> None:
    if not 0.0 <= sound <= _MOST_SOUND:
        raise EnvironmentConfigError(f"sound must be a share up to {_MOST_SOUND}, got {sound}")


def _shares(left: Sequence[float]) -> Sequence[float]:
    given = left if isinstance(left, list | tuple) else ()
    if not given or not all(isinstance(v, int | float) and 0.0 <= v < 1.0 for v in given):
        raise EnvironmentConfigError(f"left must list shares of force below 1, got {left}")
    return [float(v) + 0.0 for v in given]  # minus zero is zero: tasks are told apart by bytes


def _copies(sound: float, others: int) -> int:
    """How many sound tasks make about this share beside others."""
    return round(sound / (1.0 - sound) * others)


class BrokenActuators(RangeVariation, ABC):
    """One actuator (or group, such as a leg) is broken: zeros among ones.

    The crippled-leg setting of Nagabandi et al. 2019 (arXiv 1803.11347): training sees all groups
    break but the held-out ones, the test the held-out ones.

    Args:
        key: the task key.
        groups: lists of actuator indices that break together; None for each alone.
        held_out: indices of the groups kept for the test; None for the last; of an empty list
            the test breaks all, and (where nothing is left of what breaks in training) only what
            else varies is new in it.
        sound: about the share of training tasks in which nothing is broken, up to 0.99.
        left: how sound what is broken may be in training, each as often; zero in the test.
    """

    def __init__(
        self,
        key: str,
        groups: Sequence[Sequence[int]] | None,
        held_out: Sequence[int] | None,
        sound: float,
        left: Sequence[float] = (0.0,),
    ) -> None:
        super().__init__(key, 0.0, 1.0, outer=(0.0, 1.0), bounds=(0.0, 1.0), nominal=1.0)
        _require_share(sound)
        self._groups, self._held_out, self._sound = groups, held_out, sound
        self._left = _shares(left)

    def prepare(self, simulations: Simulations) -> None:
        size = simulations.model.nu
        self._shape = (size,)
        groups = [[i] for i in range(size)] if self._groups is None else self._groups
        held_out = [len(groups) - 1] if self._held_out is None else list(self._held_out)
        lists = all(isinstance(group, list | tuple) for group in groups)
        inside = lists and all(isinstance(i, int) and 0 <= i < size for g in groups for i in g)
        known = set(held_out) <= set(range(len(groups)))
        if not inside or not known or not len(set(held_out)) < len(groups):
            raise EnvironmentConfigError(
                f"groups must hold actuator indices below {size}, and held_out some but not all "
                f"of the {len(groups)} groups; got {groups} and {held_out}"
            )
        states = np.ones((len(groups), size))
        for state, group in zip(states, groups, strict=True):
            state[list(group)] = 0.0
        kept = states[[i for i in range(len(groups)) if i not in held_out]]
        weak = [np.where(kept == 0.0, share, 1.0) for share in self._left]
        whole = _copies(self._sound, len(weak) * len(kept))
        self._lists = {
            "train": np.concatenate([*weak, np.ones((whole, size))]),
            "test": states[held_out] if held_out else states,
        }

    def splits(self) -> Splits:
        return {split: ListTasks({self._key: values}) for split, values in self._lists.items()}

    def mirrored(self, motors: Exchange) -> Mapping[str, Exchange]:
        return {self._key: motors}


class DeadActuators(BrokenActuators):
    """An actuator or group that gives no force: `{"actuator_alive": zeros and ones}`.

    Args:
        groups: lists of actuator indices that die together; None for each alone.
        held_out: indices of the groups kept for the test; None for the last.
        sound: about the share of training tasks in which none is dead.
        left: shares of its force that may be left in training, each as often; none is in the test.
            `[0.0, 0.2, 0.4]` makes easier what a robot cannot do at all at first.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[int]] | None = None,
        held_out: Sequence[int] | None = None,
        sound: float = 0.0,
        left: Sequence[float] = (0.0,),
    ) -> None:
        super().__init__("actuator_alive", groups, held_out, sound, left)

    def _apply(self, simulations: Simulations, values: np.ndarray, rows: np.ndarray) -> None:
        weaken(simulations, values, rows)


class StuckActuators(BrokenActuators):
    """An actuator or group whose joints do not move: `{"actuator_free": zeros and ones}`.

    Dry friction stops the joint where it is when that comes into force, and holds it, to a few
    hundredths of a radian.

    Args:
        groups: lists of actuator indices that get stuck together; None for each alone.
        held_out: indices of the groups kept for the test; None for the last.
        sound: about the share of training tasks in which none is stuck.
        friction: torque in N m (force in N) that it takes to move a stuck joint.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[int]] | None = None,
        held_out: Sequence[int] | None = None,
        sound: float = 0.0,
        friction: float = 1e3,
    ) -> None:
        super().__init__("actuator_free", groups, held_out, sound)
        if not 0 < friction <= _FIRMEST:
            raise EnvironmentConfigError(
                f"friction must be positive and at most {_FIRMEST:g}, got {friction!r}"
            )
        self._friction = friction

    def prepare(self, simulations: Simulations) -> None:
        super().prepare(simulations)
        model = simulations.model
        if (model.actuator_trntype != mujoco.mjtTrn.mjTRN_JOINT).any():
            raise EnvironmentConfigError("stuck_actuators needs actuators that move single joints")
        self._dofs = model.jnt_dofadr[model.actuator_trnid[:, 0]]

    def _apply(self, simulations: Simulations, values: np.ndarray, rows: np.ndarray) -> None:
        losses = simulations.field("dof_frictionloss")
        # of a soft constraint a joint would creep
        firmness = simulations.field("dof_solimp")
        for dof, free in zip(self._dofs, values.T, strict=True):  # two actuators may move one joint
            losses[rows, dof] += self._friction * (1.0 - free)
            firmness[rows[free < 1.0], dof, :2] = _FIRM


class ActionDelay(TaskPart):
    """Actions arrive some control steps late: `{"action_delay": steps}`.

    Until the first one arrives the actuators get zeros. Training has the even delays up to
    `max_steps`, the test the odd ones, extrapolation the two beyond.

    Args:
        max_steps: longest delay in training and test, at least 1.
        sound: about the share of training tasks without a delay, up to 0.99; but one in as many as
            there are even delays has none at least.
    """

    def __init__(self, max_steps: int = 4, sound: float = 0.0) -> None:
        if not isinstance(max_steps, int) or max_steps < 1:
            raise EnvironmentConfigError(f"action_delay needs max_steps >= 1, got {max_steps}")
        _require_share(sound)
        self._max, self._sound = max_steps, sound

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
        late = np.arange(2, self._max + 1, 2)
        in_time = np.zeros(max(1, _copies(self._sound, len(late))), late.dtype)
        delays = {
            "train": np.concatenate([in_time, late]),
            "test": np.arange(1, self._max + 1, 2),
            "extrapolation": np.array([self._max + 1, self._max + 2]),
        }
        return {split: ListTasks({"action_delay": values}) for split, values in delays.items()}

    def mirrored(self, motors: Exchange) -> Mapping[str, Exchange]:
        return {"action_delay": unchanged(1)}

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
