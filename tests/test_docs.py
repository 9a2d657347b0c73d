"""The documentation's examples run, at small sizes."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from metarl.environments.config import EnvConfig
from metarl_envs.parts.variations import VARIATIONS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), DOCS.parent / "README.md"]


@pytest.fixture
def examples(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "examples"))
    # worker processes import the example by name too
    monkeypatch.setenv("PYTHONPATH", str(DOCS / "examples"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["new_task", "own_gymnasium_env", "own_mjcf", "own_learner"])
def test_example_runs(examples, name, tmp_path):
    outcome = importlib.import_module(name).main(tmp_path / "run", iterations=2)
    result = outcome[0] if isinstance(outcome, tuple) else outcome
    assert result.returns.shape[0] == 4 and np.isfinite(result.returns).all()
    sys.modules.pop(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_snippets_are_valid(page):
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
        lines = block.splitlines()
        indent = len(lines[0]) - len(lines[0].lstrip())
        document = OmegaConf.create("\n".join(line[indent:] for line in lines))
        if "env" in document or page.name != "scaling.md":  # whose cluster has none
            EnvConfig.model_validate(OmegaConf.to_container(document)["env"])


def test_every_variation_is_in_the_table():
    rows = re.findall(r"^\| `(\w+)` \|", (DOCS / "new_task.md").read_text(), re.MULTILINE)
    assert rows == list(VARIATIONS)


def test_tests_that_the_pages_name_exist():
    tests = {path.stem: path.read_text() for path in (DOCS.parent / "tests").rglob("test_*.py")}
    for page in PAGES:
        for file, name in re.findall(r"`(test_\w+)(?:::(\w+))?", page.read_text()):
            if file in tests:
                assert not name or f"def {name}(" in tests[file] or f"class {name}" in tests[file]
            else:
                assert any(f"def {file}(" in text for text in tests.values()), file


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="Sphinx is not installed")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", DOCS]
    done = subprocess.run([*command, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "api.html").read_text()
    assert "metarl.make_env" in api and "ControlLoop" in api and "StopOnReturn" in api
    for page in DOCS.glob("*.md"):
        assert (tmp_path / f"{page.stem}.html").is_file(), page
