"""Parameters as data: dicts of tensors, with a leading task axis M once tiled.

Tasks share no parameters, so the gradient of a sum over tasks is the per-task gradient.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

Params = dict[str, Tensor]


def parameters_of(module: nn.Module) -> Params:
    """A module's parameters as data, not copied."""
    return {name: value.detach() for name, value in module.named_parameters()}


def load_parameters(module: nn.Module, params: Mapping[str, Tensor]) -> None:
    """Copy values into a module's parameters of the same names."""
    with torch.no_grad():
        for name, value in module.named_parameters():
            value.copy_(params[name])


def renamed(params: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> Params:
    """With what goes by other prefixes under these, in place of what stood there.

    Args:
        params: by name.
        prefixes: new ones, and which of `params` get them.
    """
    taken = {
        own + name.removeprefix(other): value
        for own, other in prefixes.items()
        for name, value in params.items()
        if name.startswith(other)
    }
    kept = {n: v for n, v in params.items() if not n.startswith(tuple(prefixes))}
    return {**kept, **taken}


def tile(params: Mapping[str, Tensor], num_tasks: int) -> Params:
    """One copy of the parameters per task, without copying memory: shapes (M, ...)."""
    return {name: value.expand(num_tasks, *value.shape) for name, value in params.items()}


def detach(params: Mapping[str, Tensor], requires_grad: bool = False) -> Params:
    """The same values, cut from their history."""
    return {n: value.detach().requires_grad_(requires_grad) for n, value in params.items()}


def flatten(params: Mapping[str, Tensor]) -> Tensor:
    """All values as one float64 vector, in the order of the dict."""
    return torch.cat([value.detach().reshape(-1).double() for value in params.values()])


def one_row(values: Sequence[Tensor], *numbers: Tensor) -> Tensor:
    """Values one after the other, and behind them some numbers, in the precision of the values."""
    parts = [part.detach().reshape(-1) for part in (*values, *numbers)]
    return torch.cat([part.to(parts[0]) for part in parts])


def flatten_tasks(params_M: Mapping[str, Tensor]) -> Tensor:
    """All values of each task as one row: shape (M, P)."""
    return torch.cat([value.detach().flatten(1) for value in params_M.values()], dim=1)


def sum_of_rows(values_MP: Tensor) -> Tensor:
    """Row after row, in float64, whatever their number: shape (P,)."""
    total_P = torch.zeros(values_MP.shape[1:], dtype=torch.float64, device=values_MP.device)
    for values_P in values_MP:
        total_P += values_P
    return total_P


def unflatten(vector: Tensor, like: Mapping[str, Tensor]) -> Params:
    """The vector as a dict with the shapes and dtypes of `like`."""
    parts = torch.split(vector, [value.numel() for value in like.values()])
    return {
        name: part.reshape(value.shape).to(value.dtype)
        for part, (name, value) in zip(parts, like.items(), strict=True)
    }


def task_slice(params: Mapping[str, Tensor], tasks: slice) -> Params:
    """The parameters of some tasks."""
    return {name: value[tasks] for name, value in params.items()}


def all_finite(params: Mapping[str, Tensor]) -> bool:
    """Whether every value is finite."""
    return all(bool(torch.isfinite(value).all()) for value in params.values())


def prefixed(parts: Mapping[str, Mapping[str, Tensor]]) -> Params:
    """Several dicts as one, each name behind its part's prefix; `without_prefix` gives one back."""
    return {f"{prefix}{n}": value for prefix, part in parts.items() for n, value in part.items()}


def without_prefix(params: Mapping[str, Tensor], prefix: str) -> Params:
    """The values whose names begin with the prefix, by the rest of their names."""
    return {n.removeprefix(prefix): value for n, value in params.items() if n.startswith(prefix)}
