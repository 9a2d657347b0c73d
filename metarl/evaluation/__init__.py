"""Evaluation on held-out tasks, apart from training."""

from metarl.evaluation.evaluator import evaluate, evaluate_tasks
from metarl.evaluation.measured_tasks import evaluation_tasks
from metarl.evaluation.result import EvaluationResult

__all__ = ["EvaluationResult", "evaluate", "evaluate_tasks", "evaluation_tasks"]
