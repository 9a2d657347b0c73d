"""Intervals for "how well does it adapt to tasks of this distribution?": pure functions.

What was drawn at random is resampled: training seeds and tasks. All episodes of a task after a step
share one adapted policy, so that a task is drawn with its episodes (a cluster). The point estimates
are those of Agarwal et al. 2021 (arXiv 2108.13264), whose intervals resample runs; here the tasks
are random too, crossed with the seeds (Owen 2007, "The pigeonhole bootstrap", Ann. Appl. Stat. 1).
docs/statistics.md explains the choice.

Missing values (NaN) are episodes that gave no score; they are left out.
Shapes: S training seeds, M tasks, E episodes.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

_LEVEL = 0.95
_WORST_SHARE = 0.1

Statistic = Callable[[np.ndarray], float]  # of values (S, M, E)


class Interval(NamedTuple):
    """A 95 % interval; NaN where nothing was drawn more than once."""

    low: float
    high: float


class Estimate(NamedTuple):
    """A statistic and its 95 % interval."""

    value: float
    interval: Interval

    @property
    def reach(self) -> float:
        """Half of the interval, which is symmetric."""
        return (self.interval.high - self.interval.low) / 2.0


def mean(values_SME: np.ndarray) -> float:
    """Mean over all episodes that gave a score."""
    scores = _scores(values_SME)
    return float(scores.mean()) if len(scores) else float("nan")


def interquartile_mean(values: np.ndarray) -> float:
    """Mean of the middle half of the scores, over all axes."""
    ordered = np.sort(_scores(values))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean()) if len(ordered) else float("nan")


def _scores(values: np.ndarray) -> np.ndarray:
    """The values that are there, in one row."""
    flat = values.ravel()
    finite = np.isfinite(flat)
    return flat if finite.all() else flat[finite]


def worst_tasks(values_SME: np.ndarray) -> float:
    """Mean return of the worst tenth of the tasks (of at least one), by their own means."""
    means_M = task_means(values_SME)
    means_M = np.sort(means_M[np.isfinite(means_M)])
    count = max(1, round(_WORST_SHARE * len(means_M)))
    return float(means_M[:count].mean()) if len(means_M) else float("nan")


def task_means(values_SME: np.ndarray) -> np.ndarray:
    """Mean of each task over seeds and episodes: shape (M,), NaN where it has no score."""
    finite = np.isfinite(values_SME)
    count_M = finite.sum(axis=(0, 2))
    total_M = np.where(finite, values_SME, 0.0).sum(axis=(0, 2))
    return np.divide(total_M, count_M, out=np.full(len(count_M), np.nan), where=count_M > 0)


def estimate(
    values_SME: np.ndarray,
    statistic: Statistic = interquartile_mean,
    seed: int = 0,
    resamples: int = 1000,
) -> Estimate:
    """A statistic, and its 95 % interval over training seeds and tasks, both drawn at random.

    With V_t the variance of the cluster bootstrap over tasks (each drawn with all its episodes),
    V_s that over seeds and V_c that over cells of both, each times n / (n - 1), it reaches

        sqrt(t_{S-1}^2 max(V_s - V_i, 0) + t_{M-1}^2 V_t)

    to both sides; t are Student's quantiles and V_i, what seeds and tasks do together and both V_s
    and V_t hold, is solved from V_c. (Graybill and Wang 1980, J. Am. Stat. Assoc. 75, bound sums of
    variances so.) Percentiles would not do: those of three seeds cover 75 % at most. A single seed
    counts as fixed, and the interval is over tasks alone.
    """
    seeds, tasks, _ = values_SME.shape
    value, rng = statistic(values_SME), np.random.default_rng(seed)
    if math.isnan(value) or seeds * tasks == 1:
        return Estimate(value, Interval(float("nan"), float("nan")))

    def variance(count: int, take: Callable[[np.ndarray], np.ndarray]) -> float:
        if count == 1:
            return 0.0
        drawn = rng.integers(count, size=(resamples, count))
        return float(np.nanvar([statistic(take(d)) for d in drawn])) * count / (count - 1)

    of_tasks = variance(tasks, lambda d: values_SME[:, d])
    of_seeds = variance(seeds, lambda d: values_SME[d])
    if seeds > 1 and tasks > 1:
        cells = values_SME.reshape(1, seeds * tasks, -1)
        of_cells = variance(seeds * tasks, lambda d: cells[:, d])
        both = of_cells - of_seeds / tasks - of_tasks / seeds
        share = 1.0 - 1.0 / tasks - 1.0 / seeds
        if share > 0.0:  # not so with two of each, which tell nothing of what they do together
            of_seeds -= max(both, 0.0) / share
    squared = _quantile(seeds) ** 2 * max(of_seeds, 0.0) + _quantile(tasks) ** 2 * of_tasks
    reach = math.sqrt(squared)
    return Estimate(value, Interval(value - reach, value + reach))


def _quantile(count: int) -> float:
    """Student's, for so many clusters; 0 for one, which is no sample."""
    return float(stats.t.ppf(0.5 + _LEVEL / 2.0, count - 1)) if count > 1 else 0.0


def paired_difference(first_SME: np.ndarray, second_SME: np.ndarray, seed: int = 0) -> Estimate:
    """Mean of (second - first), paired by seed and task.

    Episodes are not paired: each side's mean over them is taken first. What tasks have in common
    (some are harder) cancels, so that the interval is narrower than those of the two means.
    """
    return estimate(_episode_means(second_SME) - _episode_means(first_SME), mean, seed)


def probability_of_improvement(
    first_SME: np.ndarray, second_SME: np.ndarray, seed: int = 0
) -> Estimate:
    """Probability that an episode of the second scores more than one of the first, on a task.

    Of all pairs of episodes of a task, ties count half; then the mean over tasks (Agarwal et al.
    2021, section 4.3). The interval is cut to probabilities.
    """
    seeds, tasks, _ = first_SME.shape
    better = np.full((seeds, tasks, 1), np.nan)
    for s in range(seeds):
        for m in range(tasks):
            pairs = second_SME[s, m][:, None] - first_SME[s, m]
            known = pairs[np.isfinite(pairs)]
            if known.size:
                better[s, m, 0] = np.mean((known > 0) + 0.5 * (known == 0))
    value, interval = estimate(better, mean, seed)
    return Estimate(value, Interval(*(float(np.clip(end, 0.0, 1.0)) for end in interval)))


def _episode_means(values_SME: np.ndarray) -> np.ndarray:
    finite = np.isfinite(values_SME)
    count = finite.sum(axis=2, keepdims=True)
    total = np.where(finite, values_SME, 0.0).sum(axis=2, keepdims=True)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def fixed_task_interval(values_ME: np.ndarray, seed: int = 0) -> Interval:
    """95 % percentile interval of the interquartile mean on *these* tasks and no others.

    Episodes are resampled within each task. It says how exactly these tasks were measured, not how
    well other tasks of the distribution would be solved.
    """
    rng = np.random.default_rng(seed)
    tasks, episodes = values_ME.shape
    if episodes == 1:
        return Interval(float("nan"), float("nan"))
    rows = np.arange(tasks)[:, None]
    drawn = (values_ME[rows, rng.integers(episodes, size=(tasks, episodes))] for _ in range(1000))
    low, high = np.quantile([interquartile_mean(values) for values in drawn], (0.025, 0.975))
    return Interval(float(low), float(high))
