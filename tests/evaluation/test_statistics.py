"""Intervals mean what they say: simulated coverage, and closed forms."""

import numpy as np
import pytest

from metarl.evaluation.statistics import (
    estimate,
    fixed_task_interval,
    interquartile_mean,
    mean,
    paired_difference,
    worst_tasks,
)


def draw(rng, seeds, tasks, episodes, of_seeds, of_tasks, of_both, of_episodes):
    """Returns around zero: effects of seeds, of tasks, of both together, of episodes."""
    return (
        of_seeds * rng.standard_normal((seeds, 1, 1))
        + of_tasks * rng.standard_normal((1, tasks, 1))
        + of_both * rng.standard_normal((seeds, tasks, 1))
        + of_episodes * rng.standard_normal((seeds, tasks, episodes))
    )


CASES = {
    "tasks differ": (1, 40, 20, 0.0, 1.0, 0.0, 1.0),
    "episodes differ more": (1, 40, 2, 0.0, 0.3, 0.0, 1.0),
    "few tasks": (1, 10, 5, 0.0, 1.0, 0.0, 1.0),
    "three seeds": (3, 20, 3, 0.5, 1.0, 0.3, 1.0),
    "three equal seeds": (3, 20, 3, 0.0, 1.0, 0.3, 1.0),
    "seeds differ most": (3, 20, 3, 1.0, 0.3, 0.3, 1.0),
    "ten seeds": (10, 20, 3, 0.5, 1.0, 0.3, 1.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("statistic", [mean, interquartile_mean])
def test_intervals_cover_in_95_percent_of_draws(case, statistic):
    rng, draws = np.random.default_rng(7), 500
    hits = 0
    for index in range(draws):
        interval = estimate(draw(rng, *CASES[case]), statistic, index, resamples=200).interval
        hits += interval.low < 0.0 < interval.high
    assert 0.93 <= hits / draws <= 0.97


def test_the_interval_of_a_mean_is_that_of_the_task_means():
    """One seed: Student's interval of the M means, up to the bootstrap's own noise."""
    values = draw(np.random.default_rng(0), 1, 30, 5, 0.0, 1.0, 0.0, 1.0)
    means = values.mean((0, 2))
    expected = 2.045 * means.std(ddof=1) / np.sqrt(30)
    found = estimate(values, mean, resamples=5000)
    assert found.value == pytest.approx(means.mean())
    assert found.reach == pytest.approx(expected, rel=0.05)


def test_tasks_kept_fixed_give_a_narrow_interval_of_another_meaning():
    """What an interval over episodes says of the distribution: almost nothing."""
    rng, pool = np.random.default_rng(1), np.random.default_rng(2).normal(0.0, 1.0, 240)
    covered = {"fixed": 0, "tasks": 0}
    for index in range(60):
        tasks = rng.choice(240, 40, replace=False)
        values = pool[tasks, None] + 0.3 * rng.standard_normal((40, 20))
        intervals = {
            "fixed": fixed_task_interval(values, index),
            "tasks": estimate(values[None], seed=index, resamples=200).interval,
        }
        truth = interquartile_mean(pool)
        for name, (low, high) in intervals.items():
            covered[name] += low < truth < high
    assert covered["fixed"] <= 20 and covered["tasks"] >= 55


def test_interquartile_mean_by_hand():
    # 8 values: the lowest two and the highest two are dropped
    assert interquartile_mean(np.array([100.0, 1, 2, 3, 4, -50, 5, 6])) == (2 + 3 + 4 + 5) / 4


def test_the_worst_tenth_is_not_hidden():
    values = np.zeros((1, 20, 4))
    values[0, :2] = -100.0
    assert worst_tasks(values) == -100.0 and interquartile_mean(values) == 0.0
    assert worst_tasks(values[:, :5]) == -100.0  # of at least one


def test_paired_differences_are_narrower_than_the_means():
    rng = np.random.default_rng(0)
    hard = 10.0 * rng.standard_normal((1, 40, 1))
    before, after = (hard + gain + rng.standard_normal((1, 40, 5)) for gain in (0.0, 1.0))
    gain = paired_difference(before, after)
    assert gain.interval.low > 0.0 and 0.5 < gain.value < 1.5
    assert gain.reach < 0.3 * estimate(after, mean).reach


def test_lost_episodes_are_left_out():
    values = draw(np.random.default_rng(3), 1, 10, 4, 0.0, 1.0, 0.0, 1.0)
    lost = values.copy()
    lost[0, 0, 1] = np.nan
    lost[0, 1] = np.nan  # a whole task
    assert mean(lost) == pytest.approx(np.nanmean(lost))
    assert np.isfinite(estimate(lost).interval).all()
    assert np.isnan(mean(np.full((1, 3, 2), np.nan)))
    assert np.isnan(estimate(np.full((1, 3, 2), np.nan)).interval).all()


def test_what_was_drawn_once_has_no_interval():
    assert np.isnan(estimate(np.ones((1, 1, 5))).interval).all()
    constant = estimate(np.full((1, 4, 5), 2.5))
    assert constant.interval == (2.5, 2.5)
    # two seeds on one task: the seeds are what was drawn
    assert np.isfinite(estimate(np.arange(10.0).reshape(2, 1, 5), mean).interval).all()


@pytest.mark.parametrize(("seeds", "tasks"), [(2, 2), (2, 1), (1, 2), (2, 3), (3, 2)])
def test_the_smallest_numbers_of_seeds_and_tasks_have_an_interval(seeds, tasks):
    values = np.random.default_rng(0).normal(size=(seeds, tasks, 5))
    found = estimate(values)
    assert found.interval.low < found.value < found.interval.high
    assert np.isfinite(found.interval.low)
