import numpy as np

from metarl.evaluation.statistics import (
    interquartile_interval,
    interquartile_mean,
    seed_interval,
)


def test_interquartile_mean_by_hand():
    # 8 values: the lowest two and the highest two are dropped
    assert interquartile_mean(np.array([100.0, 1, 2, 3, 4, -50, 5, 6])) == (2 + 3 + 4 + 5) / 4


def test_interval_of_constant_returns_has_no_width():
    assert interquartile_interval(np.full((4, 5), 2.5)) == (2.5, 2.5)
    assert interquartile_interval(np.array([[3.0]])) == (3.0, 3.0)


def test_tasks_are_kept_in_every_resample():
    # each task has constant returns: resampling within tasks changes nothing
    returns = np.repeat(np.arange(6.0)[:, None], 4, axis=1)
    low, high = interquartile_interval(returns)
    assert low == high == interquartile_mean(returns.reshape(-1))


def test_interval_covers_the_mean_of_a_known_law():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(40):
        low, high = interquartile_interval(rng.normal(3.0, 1.0, (10, 10)))
        hits += low < 3.0 < high
    assert hits >= 34


def test_one_episode_per_task_resamples_tasks():
    low, high = interquartile_interval(np.random.default_rng(0).normal(size=(40, 1)))
    assert low < high


def test_seeds_are_resampled_whole():
    # seeds differ, tasks and episodes do not: the interval is that of the seeds' values
    values = np.repeat([0.0, 10.0, 20.0, 30.0], 6).reshape(4, 2, 3)
    low, high = seed_interval(values)
    assert low < 10.0 and high > 20.0
    assert np.isnan(seed_interval(values[:1])).all()
    assert seed_interval(np.full((3, 2, 3), 2.5)) == (2.5, 2.5)
