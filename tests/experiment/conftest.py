import shutil

import pytest


@pytest.fixture
def checkpoint(tiny_run, tmp_path, monkeypatch):
    """A copy to damage, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(tiny_run / "checkpoints/iteration_000003", tmp_path / "iteration_000003")
