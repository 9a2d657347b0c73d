"""Every tensor names its device: shown without a second one, by a default device that has no data.

What is made without a device lands on "meta" here, and meets tensors of the learner's device, which
torch refuses.
"""

import pytest
import torch
from small_runs import SmallRun

from metarl.interaction import threads
from metarl.learners import LEARNERS
from metarl.optimization.optimizer_state import load_optimizer, optimizer_tensors

_VARIANTS = {
    "maml of other parts": (
        "maml",
        {"advantages": {"baseline": "mlp"}, "normalization": {"observations": True}},
    ),
    "maml along dice by ppo": (
        "maml",
        {"inner": {"steps": 2, "objective": "dice"}, "outer": {"name": "ppo"}},
    ),
}


@pytest.fixture
def data_on_named_devices_only(monkeypatch):
    """Tensors without a device have no data, in threads that start from now on too."""

    def lose():
        torch.set_default_device("meta")

    class Pool(threads.ThreadPoolExecutor):
        def __init__(self, workers, initializer, initargs):
            def begin():
                initializer(*initargs)
                lose()

            super().__init__(workers, initializer=begin)

    monkeypatch.setattr(threads, "ThreadPoolExecutor", Pool)
    yield lose
    torch.set_default_device(None)


@pytest.mark.parametrize("name", [*LEARNERS, *_VARIANTS])
def test_training_and_adaptation_name_their_device(name, data_on_named_devices_only):
    learner, keys = _VARIANTS.get(name, (name, {}))
    small = SmallRun(learner, **keys)
    data_on_named_devices_only()
    small.iterate(2)
    small.step(small.begin())


def test_moments_are_restored_where_their_parameters_are():
    def adam(device):
        parameter = torch.zeros(3, device=device, requires_grad=True)
        parameter.grad = torch.ones(3, device=device)
        return torch.optim.Adam([parameter])

    saved = adam("cpu")
    saved.step()
    restored = adam("meta")
    load_optimizer(restored, optimizer_tensors(saved))
    moments = next(iter(restored.state.values()))
    assert {moments[name].device.type for name in ("exp_avg", "exp_avg_sq")} == {"meta"}
