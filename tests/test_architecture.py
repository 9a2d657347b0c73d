"""The sentences of docs/design.md about imports and files, held true."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "metarl").rglob("*.py"))
ENVS = sorted((ROOT / "envs").rglob("*.py"))
PURE = (
    "estimators/returns",
    "estimators/objectives",
    "policies/distributions",
    "evaluation/statistics",
)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def uses(path: Path, package: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for name in imports(path))


def users(package: str, files: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in files if uses(path, package)]


def test_environments_know_neither_torch_nor_the_library():
    assert users("torch", ENVS) == []
    assert users("metarl", ENVS) == []


def test_library_imports_no_script_and_no_robot():
    assert users("scripts", LIBRARY) == []
    robots = {"half_cheetah", "point_navigation", "rand_params", "reacher"}
    for path in LIBRARY:
        assert not {f"metarl_envs.robots.{robot}" for robot in robots} & imports(path), path


def test_one_file_imports_stable_baselines3():
    assert users("stable_baselines3", LIBRARY) == ["metarl/training/run_log.py"]


def test_one_file_converts_numpy_to_torch_on_the_sampling_path():
    learners = [path for path in LIBRARY if "learners" in path.parts]
    for path in learners:
        assert "from_numpy" not in path.read_text() and ".numpy()" not in path.read_text(), path


def test_training_and_evaluation_stay_apart():
    evaluation = sorted((ROOT / "metarl/evaluation").glob("*.py"))
    training = sorted((ROOT / "metarl/training").glob("*.py"))
    assert users("metarl.training", evaluation) == []
    for path in training:
        inner = {n for n in imports(path) if n.startswith("metarl.evaluation.")}
        assert inner == set(), path


@pytest.mark.parametrize("name", PURE)
def test_pure_functions_import_nothing_of_ours(name):
    path = ROOT / f"metarl/{name}.py"
    assert not uses(path, "metarl") and not uses(path, "metarl_envs")


def test_sampler_trainer_and_evaluator_name_no_method():
    generic = [
        ROOT / "metarl/interaction/rollouts.py",
        *sorted((ROOT / "metarl/training").glob("*.py")),
    ]
    generic += sorted((ROOT / "metarl/evaluation").glob("*.py"))
    for path in generic:
        assert "maml" not in path.read_text().lower(), path
        assert {n for n in imports(path) if n.startswith("metarl.learners.")} <= {
            "metarl.learners.base"
        }, path


def test_source_folders_are_no_packages():
    for folder in ("envs", "configs", "scripts", "tests"):
        assert not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize("path", LIBRARY + ENVS, ids=lambda path: path.name)
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 300
