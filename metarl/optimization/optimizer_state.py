"""An optimiser's moments as tensors, and back: they are saved without unpickling."""

from collections.abc import Mapping

import torch
from torch import Tensor

from metarl.params import Params


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Params:
    """The state of an optimiser, by index of the parameter and name of the moment."""
    return {
        f"{index}.{name}": torch.as_tensor(value).clone()
        for index, moments in optimizer.state_dict()["state"].items()
        for name, value in moments.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore what `optimizer_tensors` gave."""
    moments: dict[int, Params] = {}
    for key, value in tensors.items():
        index, name = key.split(".")
        moments.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
