"""What commands share."""

from pathlib import Path

import pytest

from metarl.command_line import names_of
from metarl.errors import ConfigError


def test_runs_are_named_by_as_little_as_tells_them_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert names_of(["runs/a", "runs/b"]) == ["a", "b"]
    assert names_of(["x/seed0/", Path("y/seed0")]) == ["x/seed0", "y/seed0"]
    assert names_of(["."]) == [tmp_path.name]
    assert names_of(["zoo:ant_dir/rl2", "zoo:half_cheetah_dir/rl2"]) == [
        "zoo:ant_dir/rl2",
        "zoo:half_cheetah_dir/rl2",
    ]
    assert names_of(["a/1/2", "b/1/2", "a/3"]) == ["a/1/2", "b/1/2", f"{tmp_path.name}/a/3"]
    with pytest.raises(ConfigError, match=r"every run once, please, got x, \./x"):
        names_of(["x", "./x"])
