"""What tables of several runs share.

Shapes: S training seeds, K stands for the K+1 adaptation steps, M tasks, E episodes.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from metarl.errors import ConfigError
from metarl.evaluation.result import MOST_DIVERGED
from metarl.evaluation.statistics import estimate
from metarl.experiment.run_record import RunRecord


def seeds_scores(method: str, records: Sequence[RunRecord], split: str) -> np.ndarray:
    """Returns of all seeds on a split, NaN where an episode diverged: shape (S, K+1, M, E).

    Raises:
        ConfigError: if the seeds were not measured alike.
    """
    scores = [record.scores(split) for record in records]
    if len({part.shape for part in scores}) > 1:
        shapes = ", ".join(str(part.shape) for part in scores)
        raise ConfigError(
            f"the seeds of {method} were measured with different numbers of steps, tasks or "
            f"episodes on {split}: {shapes}"
        )
    return np.stack(scores)


def mean_cost(records: Sequence[RunRecord]) -> tuple[float, float | None]:
    """Environment steps and minutes of training, means over seeds; None where not all are known."""
    steps = float(np.mean([record.env_steps for record in records]))
    known = [record.seconds for record in records if record.seconds is not None]
    return steps, float(np.mean(known)) / 60 if len(known) == len(records) else None


def common_splits(records: Iterable[RunRecord]) -> list[str]:
    """Splits that all records have, in the order of the first.

    Raises:
        ConfigError: if there is none.
    """
    first, *others = records
    splits = [s for s in first.evaluations if all(s in other.evaluations for other in others)]
    if not splits:
        raise ConfigError("these runs were evaluated on no split that all of them have")
    return splits


def figure(scores_SME: np.ndarray, digits: int) -> str:
    """Interquartile mean, its interval where there is one, and what diverged.

    "none" where more than a tenth of the episodes diverged.
    """
    lost = float(np.isnan(scores_SME).mean())
    if lost > MOST_DIVERGED:
        return f"none, {100 * lost:.0f} % diverged"
    value, (low, high) = estimate(scores_SME)
    interval = f" [{low:.{digits}g}, {high:.{digits}g}]" if np.isfinite(low) else ""
    diverged = f", {100 * lost:.1f} % diverged" if lost else ""
    return f"{value:.{digits}g}{interval}{diverged}"
