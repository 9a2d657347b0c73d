"""Distances between tasks: what they are, where they come from, how they are drawn."""

import numpy as np
import pytest
from matplotlib.image import imread
from small_runs import SmallRun

import metarl
from metarl.reports.task_map import plane, plot_task_distances

POINT = "metarl/PointNavigation-v0"
GOALS = {"goal": np.array([[0.3, 0.1], [-0.2, 0.4], [0.3, 0.1], [0.0, -0.4]])}


@pytest.fixture(scope="module")
def comparing():
    run = SmallRun("prototypes", POINT, embedding_size=3)
    run.iterate(2)
    return run.learner


def test_the_matrix_is_symmetric_and_zero_on_its_diagonal(comparing):
    found = metarl.task_distances(comparing, POINT, GOALS, horizon=12)
    assert found.shape == (4, 4) and (found >= 0).all()
    np.testing.assert_allclose(found, found.T)
    np.testing.assert_array_equal(found.diagonal(), 0.0)
    assert (found[0, [1, 3]] > found[0, 2]).all()  # the same goal, other rollouts


def test_the_order_of_tasks_does_not_matter(comparing):
    order = [3, 1, 0, 2]
    found = metarl.task_distances(comparing, POINT, GOALS, horizon=12)
    first = {"goal": GOALS["goal"][[0, 1, 3]]}, {"goal": GOALS["goal"][[3, 0, 1]]}
    a, b = (metarl.task_distances(comparing, POINT, tasks, horizon=12) for tasks in first)
    np.testing.assert_allclose(b, a[np.ix_([2, 0, 1], [2, 0, 1])], rtol=1e-4, atol=1e-6)
    assert found.shape == (len(order),) * 2


def test_mistakes_are_a_sentence(comparing):
    with pytest.raises(metarl.UserError, match="compares no tasks"):
        metarl.task_distances(SmallRun("maml").learner, POINT, GOALS)
    with pytest.raises(metarl.UserError, match="episodes must be positive"):
        metarl.task_distances(comparing, POINT, GOALS, episodes=0)
    for tasks in ({}, {"goal": np.zeros((0, 2))}, {"goal": 1.0}):
        with pytest.raises(metarl.UserError, match="tasks must be arrays"):
            metarl.task_distances(comparing, POINT, tasks)
    with pytest.raises(metarl.UserError):
        metarl.task_distances(comparing, POINT, {"gaol": np.zeros((2, 2))})


def test_points_of_a_plane_are_found_again():
    points = np.random.default_rng(0).normal(size=(7, 2))
    squared = np.square(points[:, None] - points[None]).sum(-1)
    found = plane(squared)
    np.testing.assert_allclose(np.square(found[:, None] - found[None]).sum(-1), squared, atol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_picture_is_written(tmp_path, count):
    points = np.random.default_rng(0).normal(size=(count, 3))
    squared = np.square(points[:, None] - points[None]).sum(-1)
    plot_task_distances(squared, tmp_path / "map.png", points[:, 0])
    assert imread(tmp_path / "map.png").std() > 0.01
