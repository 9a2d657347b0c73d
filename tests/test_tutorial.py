"""The tutorial runs from its first cell to its last, and ends where it says."""

from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[1] / "docs/tutorial.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the notebook's own machinery
def test_the_tutorial_runs(monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    root = TUTORIAL.parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{root}:{root / 'envs'}")
    notebook = nbformat.read(TUTORIAL, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output["data"] for output in outputs if "data" in output]
    assert any("<table>" in data.get("text/html", "") for data in shown)
    assert any("image/png" in data for data in shown)
    assert any("it ends at" in output.get("text", "") for output in outputs)
