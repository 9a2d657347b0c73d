"""What is reported of an evaluation, by name. A new metric is one function and one line here.

Returns of episodes that diverged are NaN.
Shapes: K stands for the K+1 adaptation steps, M tasks, E episodes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from metarl.evaluation import statistics


@dataclass(frozen=True)
class Metric:
    """One number for every adaptation step.

    Attributes:
        compute: (returns_KME, success_KME or None) -> values_K, or None where it has none.
        title: of its column in a table.
        is_share: whether tables print it in percent.
    """

    compute: Callable[[np.ndarray, np.ndarray | None], np.ndarray | None]
    title: str
    is_share: bool = False


def mean(returns_KME: np.ndarray, success_KME: np.ndarray | None) -> np.ndarray:
    """Mean return over all tasks and episodes that gave a score."""
    return np.array([statistics.mean(returns_ME[None]) for returns_ME in returns_KME])


def worst_tenth(returns_KME: np.ndarray, success_KME: np.ndarray | None) -> np.ndarray:
    """Mean return of the worst tenth of the tasks, which an interquartile mean leaves out."""
    return np.array([statistics.worst_tasks(returns_ME[None]) for returns_ME in returns_KME])


def area_under_curve(returns_KME: np.ndarray, success_KME: np.ndarray | None) -> np.ndarray:
    """Area under the curve of mean returns up to each step, divided by the number of steps.

    The mean return of a policy that is deployed while it adapts; at step 0 the return there.
    """
    means_K = mean(returns_KME, success_KME)
    areas_K = np.concatenate([[0.0], np.cumsum((means_K[1:] + means_K[:-1]) / 2.0)])
    steps_K = np.arange(len(means_K))
    return np.where(steps_K == 0, means_K, areas_K / np.maximum(steps_K, 1))


def success(returns_KME: np.ndarray, success_KME: np.ndarray | None) -> np.ndarray | None:
    """Share of all episodes that the environment calls a success; a diverged one is none."""
    return None if success_KME is None else success_KME.mean(axis=(1, 2))


METRICS: dict[str, Metric] = {
    "mean": Metric(mean, "mean return"),
    "worst_tenth": Metric(worst_tenth, "worst tenth"),
    "area_under_curve": Metric(area_under_curve, "curve area"),
    "success": Metric(success, "success", is_share=True),
}
