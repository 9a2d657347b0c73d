"""Vega-Lite documents, made with Altair."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

Spec = dict[str, Any]  # a Vega-Lite document
HEIGHT = 320


def data(rows: Sequence[Spec]) -> Any:
    """Rows inside the document."""
    return alt.Data(values=list(rows))


def number(value: float) -> float | None:
    """The value, None where it is not finite: JSON has nothing for it."""
    return float(value) if np.isfinite(value) else None


def spec(chart: Any, wide: bool = True) -> Spec:
    """The document of a chart, as wide as the page."""
    sized = chart.properties(width="container", height=HEIGHT) if wide else chart
    document: Spec = sized.configure(background="transparent").to_dict()
    return document
