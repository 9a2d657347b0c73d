"""Meta-training."""

from metarl.training.trainer import train

__all__ = ["train"]
