"""Fields of a MuJoCo model that vary with the task, named in a config."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import mujoco
import numpy as np

from metarl_envs.engine.model import Kind, object_id
from metarl_envs.errors import EnvironmentConfigError, did_you_mean
from metarl_envs.tasks.splits import TaskRange

# Prefix of a field's name -> the kind of object its rows belong to
_KINDS: dict[str, Kind] = {
    "body": "body",
    "geom": "geom",
    "jnt": "joint",
    "dof": "joint",
    "actuator": "actuator",
}


@dataclass(frozen=True)
class FieldRange:
    """A model field and the range of its values.

    Attributes:
        field: name in `MjModel`, such as "body_mass" or "geom_friction".
        low: lower bound in training.
        high: upper bound in training.
        mode: "scale" multiplies the nominal rows, "absolute" sets them (their first column).
        names: bodies, geoms, joints or actuators that vary, one value each; None for all whose
            values have an effect: the world body never moves, and a multiple of zero is zero.
        log: uniform in the logarithm.
    """

    __pydantic_config__ = {"extra": "forbid"}

    field: str
    low: float
    high: float
    mode: Literal["scale", "absolute"] = "scale"
    names: tuple[str, ...] | None = None
    log: bool = False

    @property
    def key(self) -> str:
        """The task key."""
        return f"{self.field}_scale" if self.mode == "scale" else self.field


class ModelFields:
    """Writes task values into one environment's model.

    Nominal values are kept as copies; inertia follows the mass, scaled or set; the constants that
    MuJoCo derives follow both (`mj_setConst`, on scratch data since it overwrites positions).
    """

    def __init__(self, ranges: Sequence[FieldRange], env: gymnasium.Env) -> None:
        self._ranges = ranges
        if not ranges:
            return
        model = getattr(env.unwrapped, "model", None)
        if not isinstance(model, mujoco.MjModel):
            raise EnvironmentConfigError(
                f"vary_fields needs a MuJoCo environment with a `model`, got {env.unwrapped}"
            )
        self._model, self._scratch = model, mujoco.MjData(model)
        self._rows = {r.key: _rows(model, r) for r in ranges}
        names = {r.field for r in ranges} | {"body_inertia"}
        self._nominal = {name: np.array(getattr(model, name)) for name in names}

    def ranges(self) -> dict[str, TaskRange]:
        """Ranges by task key."""
        return {
            r.key: TaskRange(r.low, r.high, r.log, (len(self._rows[r.key]),)) for r in self._ranges
        }

    def apply(self, task: Mapping[str, Any]) -> set[str]:
        """Put the values in force; returns the keys that were ours."""
        if not self._ranges:
            return set()
        for name, nominal in self._nominal.items():
            getattr(self._model, name)[:] = nominal
        for r in self._ranges:
            rows, values = self._rows[r.key], np.asarray(task[r.key])
            target = getattr(self._model, r.field)
            if r.mode == "absolute":
                target[(rows, 0) if target.ndim > 1 else rows] = values
            else:
                target[rows] *= values.reshape(-1, *[1] * (target.ndim - 1))
            if r.field == "body_mass":
                before = self._nominal["body_mass"][rows]
                ratio = np.divide(target[rows], before, out=np.ones(len(rows)), where=before > 0)
                self._model.body_inertia[rows] *= ratio[:, None]
        mujoco.mj_setConst(self._model, self._scratch)
        return {r.key for r in self._ranges}


def _rows(model: mujoco.MjModel, r: FieldRange) -> np.ndarray:
    field = getattr(model, r.field, None)
    prefix = r.field.split("_")[0]
    if not isinstance(field, np.ndarray) or prefix not in _KINDS or field.dtype.kind != "f":
        close = did_you_mean(r.field, [n for n in dir(model) if n.split("_")[0] in _KINDS])
        raise EnvironmentConfigError(f"{r.field!r} is no model field that can vary{close}")
    if r.names is None:
        kept = np.flatnonzero(field.reshape(len(field), -1).any(axis=1) | (r.mode == "absolute"))
        return kept[kept > 0] if prefix == "body" else kept
    rows: list[int] = []
    for name in r.names:
        index = object_id(model, _KINDS[prefix], name)
        if prefix == "dof":
            first = int(model.jnt_dofadr[index])
            last = int(model.jnt_dofadr[index + 1]) if index + 1 < model.njnt else model.nv
            rows.extend(range(first, last))
        else:
            rows.append(index)
    return np.array(rows)
