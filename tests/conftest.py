"""Fixtures that several test modules share."""
# ruff: noqa: I001

import copy

import metarl  # before NumPy, whose kernels it chooses
import pytest
import torch

from metarl.experiment.config import ExperimentConfig, parse_config
from metarl.learners import LEARNERS


@pytest.fixture(autouse=True)
def only_our_learners():
    """A learner that a test registers, or an example that it runs, is gone after it."""
    before = dict(LEARNERS)
    yield
    LEARNERS.clear()
    LEARNERS.update(before)


@pytest.fixture
def float64():
    """Double precision for closed forms and finite differences."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


TINY = {
    "env": {"id": "metarl/PointNavigation-v0", "kwargs": {"action_scale": 10.0}},
    "learner": {"name": "maml", "inner": {"step_sizes": [0.5]}},
    "policy": {"hidden_sizes": [8]},
    "meta_batch": 3,
    "episodes": 4,
    "horizon": 10,
    "iterations": 3,
    "evaluation": {"num_tasks": 5, "episodes": 3, "adaptation_steps": 1},
    "checkpoint": {"every": 2},
}


@pytest.fixture
def tiny_document() -> dict:
    """A config document that trains in a second."""
    return copy.deepcopy(TINY)


@pytest.fixture
def tiny_config(tiny_document) -> ExperimentConfig:
    return parse_config(tiny_document)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """The run folder of a finished tiny training."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    metarl.train(parse_config(TINY), folder)
    return folder
