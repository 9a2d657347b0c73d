"""The one place where NumPy and torch meet: acting is NumPy, learning is torch."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

ROWS = 32  # two vectors of the widest kind


def to_array(values: Tensor) -> np.ndarray:
    """The values on the CPU."""
    array: np.ndarray = values.detach().cpu().numpy()
    return array


def to_tensor(values: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """The values on a device; on the CPU they share memory with the array."""
    return torch.from_numpy(values).to(device)


def whole_rows(rows: np.ndarray) -> np.ndarray:
    """The rows, with zeros below them up to a multiple of 32.

    Kernels for a handful of rows, and for what vectors leave over, round otherwise than those for
    many. Among a multiple of 32 rows each is what it would be among any other number of them: a
    task's bits do not depend on its company.
    """
    missing = -len(rows) % ROWS
    if not missing:
        return rows
    return np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)])


def array_dtype(dtype: torch.dtype) -> np.dtype:
    """NumPy's name of a floating point type."""
    return to_array(torch.empty(0, dtype=dtype, device="cpu")).dtype


def of_each(function: Callable[[np.ndarray], np.ndarray], values_MEO: np.ndarray) -> np.ndarray:
    """What a function of `whole_rows` gives for each task and episode: shape (M, E, ...)."""
    shape = values_MEO.shape[:2]
    rows = whole_rows(values_MEO.reshape(-1, values_MEO.shape[-1]))
    return function(rows)[: shape[0] * shape[1]].reshape(*shape, -1)
