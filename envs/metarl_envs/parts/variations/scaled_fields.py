"""Random physical parameters of the whole model, as in rand_param_envs (ProMP, PEARL, VariBAD)."""

from collections.abc import Mapping, Sequence

import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError, did_you_mean
from metarl_envs.parts.base import Simulations, TaskPart, TaskValue
from metarl_envs.tasks.batches import Tasks
from metarl_envs.tasks.splits import Splits, box_splits

# Model field -> base of its log-uniform multiplier
SCALABLE_FIELDS = {"body_mass": 1.5, "body_inertia": 1.5, "dof_damping": 1.3, "geom_friction": 1.5}
_SPACE_EXPONENT = 6.0  # tasks may go this far; training stops at `log_scale_limit`


class ScaledFields(TaskPart):
    """Log-uniform multipliers of whole model fields, one per entry.

    Tasks: for each field f, `{f"{f}_scale": multipliers}` in the field's own shape. `train` and
    `test` interleave over the exponents U(-limit, limit); in `extrapolation` at least one
    multiplier lies outside (exponents up to limit + 1).

    Args:
        vary: model fields. Inertia follows the mass if `body_mass` varies and `body_inertia` does
            not.
        limit: largest exponent in training.
    """

    def __init__(self, vary: Sequence[str], limit: float) -> None:
        for name in vary:
            if name not in SCALABLE_FIELDS:
                raise EnvironmentConfigError(
                    f"cannot vary {name!r}{did_you_mean(name, SCALABLE_FIELDS)}; "
                    f"allowed: {', '.join(SCALABLE_FIELDS)}"
                )
        if not vary:
            raise EnvironmentConfigError("vary must name at least one model field")
        if not 0 < limit <= _SPACE_EXPONENT - 1:
            raise EnvironmentConfigError(
                f"log_scale_limit must be in (0, {_SPACE_EXPONENT - 1:g}], got {limit}"
            )
        self._vary, self._limit = tuple(vary), limit

    def prepare(self, simulations: Simulations) -> None:
        nominal = {name: getattr(simulations.model, name) for name in self._vary}
        self._shapes = {name: values.shape for name, values in nominal.items()}
        # what is zero (the world body's mass) stays zero
        self._matters = {f"{name}_scale": values != 0.0 for name, values in nominal.items()}

    def _bounds(self, exponent: float) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Lowest and highest multipliers, by task key."""
        low = {
            f"{n}_scale": np.full(s, SCALABLE_FIELDS[n] ** -exponent)
            for n, s in self._shapes.items()
        }
        return low, {key: 1.0 / value for key, value in low.items()}

    @property
    def spaces(self) -> Mapping[str, spaces.Space]:
        low, high = self._bounds(_SPACE_EXPONENT)
        return {key: spaces.Box(low[key], high[key], dtype=np.float64) for key in low}

    @property
    def nominal(self) -> Mapping[str, TaskValue]:
        return {f"{name}_scale": np.ones(shape) for name, shape in self._shapes.items()}

    def splits(self) -> Splits:
        low, high = self._bounds(self._limit)
        outer = self._bounds(self._limit + 1)
        return box_splits(low, high, outer, log=True, matters=self._matters)

    def apply(self, simulations: Simulations, tasks: Tasks, rows: np.ndarray) -> None:
        scales = {name: tasks[f"{name}_scale"] for name in self._vary}
        if "body_mass" in scales and "body_inertia" not in scales:
            scales["body_inertia"] = scales["body_mass"][:, :, None]
        for name, scale in scales.items():
            simulations.field(name)[rows] *= scale
