"""The one place where NumPy and torch meet: acting is NumPy, learning is torch."""

import numpy as np
import torch
from torch import Tensor


def to_array(values: Tensor) -> np.ndarray:
    """The values on the CPU."""
    array: np.ndarray = values.detach().cpu().numpy()
    return array


def to_tensor(values: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """The values on a device; on the CPU they share memory with the array."""
    return torch.from_numpy(values).to(device)


def array_dtype(dtype: torch.dtype) -> np.dtype:
    """NumPy's name of a floating point type."""
    return to_array(torch.empty(0, dtype=dtype, device="cpu")).dtype
