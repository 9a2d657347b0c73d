"""The result of an evaluation as a picture file."""

from pathlib import Path

from metarl.evaluation.result import EvaluationResult


def plot_adaptation(result: EvaluationResult, path: str | Path) -> None:
    """Write `EvaluationResult.plot` as PNG."""
    result.plot().savefig(path, dpi=150)
