"""Statistics of returns over tasks and episodes: pure functions.

Following Agarwal et al. 2021 (arXiv 2108.13264): the interquartile mean, and bootstrap intervals
that resample within strata. Shapes: K adaptation steps, M tasks, E episodes.
"""

import numpy as np
from scipy import stats

_RESAMPLES = 2000


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean of the middle half of the values."""
    return stats.trim_mean(values, 0.25, axis=axis)


def interquartile_interval(values_ME: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the interquartile mean, stratified by task.

    Episodes are resampled within each task, the tasks are kept. With a single episode per task
    there is nothing to resample within, and the tasks are resampled instead; with a single
    value the interval is that value.
    """
    strata = values_ME if values_ME.shape[1] > 1 else values_ME.reshape(1, -1)
    if strata.shape[1] == 1 or (strata == strata[:, :1]).all():
        centre = float(interquartile_mean(values_ME.reshape(-1)))
        return centre, centre

    def pooled(*samples: np.ndarray, axis: int) -> np.ndarray:
        return interquartile_mean(np.concatenate(samples, axis=axis), axis=axis)

    interval = stats.bootstrap(
        tuple(strata),
        pooled,
        n_resamples=_RESAMPLES,
        batch=200,
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def seed_interval(values_SME: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the interquartile mean over training seeds S.

    Whole seeds are resampled, with all their tasks and episodes; one seed has no interval.
    """
    count = len(values_SME)
    if count == 1:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(count, size=(_RESAMPLES, count))
    means = [float(interquartile_mean(values_SME[seeds].reshape(-1))) for seeds in drawn]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
