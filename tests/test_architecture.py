"""The sentences of docs/design.md about imports, files and functions, held true.

Reads the tree: no robot and no method is named here. Imports under `TYPE_CHECKING` and inside
functions count.
"""

import ast
import inspect
import itertools
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from metarl.learners import LEARNERS

ROOT = Path(__file__).parents[1]
PACKAGES = {"metarl": ROOT / "metarl", "metarl_envs": ROOT / "envs/metarl_envs"}
LIBRARY, ENVS = (sorted(folder.rglob("*.py")) for folder in PACKAGES.values())
OURS = LIBRARY + ENVS
ALL = OURS + [p for name in ("scripts", "benchmarks", "tests") for p in (ROOT / name).rglob("*.py")]
IDS = [str(path.relative_to(ROOT)) for path in ALL]

# Every room imports from rooms with smaller numbers only; a room is the longest name that fits
LIBRARY_ROOMS = {
    "errors": 0,
    "config_model": 0,
    "params": 0,
    "seeding": 0,
    "watching": 0,
    "command_line": 1,
    "files": 1,
    "environments": 1,
    "interaction.rollouts": 1,
    "interaction.threads": 1,
    "interaction.replay": 2,
    "interaction.trial_buffer": 2,
    "interaction.demonstrations": 2,
    "interaction.allocator": 1,
    "estimators": 2,
    "policies": 2,
    "optimization": 2,
    "learners.base": 3,
    "learners.advantages": 3,
    "learners.training_reward": 3,
    "learners.together": 3.2,
    "learners.mirroring": 3.6,
    "learners.demonstrated": 3.5,
    "learners.clipped_ppo": 3.5,
    "interaction": 4,
    # families of learners, whatever their names, are 4 as well
    # these build on other families
    "learners.inference": 5,
    "learners.imitation": 5,
    "learners.references": 5,
    "learners.privileged": 5,
    "learners": 6,
    "deployment.onnx_file": 5.5,
    "deployment": 7,
    "trained_env": 3.5,
    "adapted_policy": 6,
    "evaluation": 6,
    "experiment": 7,
    "reports": 7,
    "reports.html": 8,
    "reports.viewer": 8,
    "training": 8,
    "": 9,
    "commands": 10,
}
ENVS_ROOMS = {
    "memory": 1,
    "errors": 0,
    "mirror": 1,
    "tasks": 1,
    "engine": 2,
    "protocol": 2,
    "parts": 3,
    "task_env": 3,
    "observed_task": 3,
    "single_env": 3,
    "robots": 4,
    "robot_env": 1,
    "points": 4,
    "gymnasium_envs": 5,
    "checker": 6,
    "check_process": 7,
    "registration": 4,
    "": 8,
}
DATA = {"interaction.rollouts", "config_model", "errors", "estimators"}


def module_name(path):
    for package, folder in PACKAGES.items():
        if path.is_relative_to(folder):
            parts = path.relative_to(folder).with_suffix("").parts
            return ".".join((package, *(p for p in parts if p != "__init__")))
    return path.stem


MODULES = {module_name(path): path for path in OURS}


def imports(path):
    """Modules that a file imports, ours and others'."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in MODULES else node.module)
    return found


def users(package, files):
    return [
        str(path.relative_to(ROOT))
        for path in files
        if any(name == package or name.startswith(f"{package}.") for name in imports(path))
    ]


def room(module, rooms):
    """Name and number of the room of a module, named without its package."""
    parts = module.split(".")[1:]
    if parts[:1] == ["learners"] and len(parts) > 2 and ".".join(parts[:2]) not in rooms:
        return ".".join(parts[:2]), 4
    for length in range(len(parts), -1, -1):
        name = ".".join(parts[:length])
        if name in rooms:
            return name, rooms[name]
    raise AssertionError(module)


def test_imports_go_round_in_no_circle():
    edges = {name: imports(path) & MODULES.keys() for name, path in MODULES.items()}
    assert list(TopologicalSorter(edges).static_order())


@pytest.mark.parametrize(
    ("package", "rooms"), [("metarl", LIBRARY_ROOMS), ("metarl_envs", ENVS_ROOMS)]
)
def test_rooms_look_one_way(package, rooms):
    wrong = []
    for name, path in MODULES.items():
        if name.split(".")[0] != package:
            continue
        own, number = room(name, rooms)
        for imported in imports(path) & MODULES.keys():
            if imported.split(".")[0] == package:
                other, below = room(imported, rooms)
                if other != own and below >= number:
                    wrong.append(f"{name} imports {imported}")
    assert wrong == []


def test_estimators_import_nothing_of_ours_but_data():
    for name, path in MODULES.items():
        if name.startswith("metarl.estimators"):
            ours = {n for n in imports(path) if n.startswith("metarl")}
            assert {room(n, LIBRARY_ROOMS)[0] for n in ours} <= DATA, name


def test_environments_know_neither_torch_nor_the_library():
    assert users("torch", ENVS) == []
    assert users("metarl", ENVS) == []


def test_library_imports_no_script_and_no_environment():
    assert users("scripts", LIBRARY) == users("benchmarks", LIBRARY) == []
    for path in LIBRARY:
        rooms = {name.split(".")[1] for name in imports(path) if name.startswith("metarl_envs.")}
        assert not rooms & {"robots", "points", "parts"}, path


def test_one_file_for_each_foreign_interface():
    assert users("stable_baselines3", LIBRARY) == [
        "metarl/commands/scratch.py",
        "metarl/deployment/sb3_model.py",
        "metarl/deployment/sb3_vec_env.py",
        "metarl/evaluation/sb3_expert.py",
        "metarl/training/run_log.py",
    ]
    assert users("torch.distributed", LIBRARY) in ([], ["metarl/experiment/world.py"])
    meeting = [p.name for p in LIBRARY if {"from_numpy", "numpy()"} & set(_words(p))]
    assert meeting == ["arrays.py"]


def _words(path):
    text = path.read_text()
    return [word for word in ("from_numpy", "numpy()") if f".{word}" in text]


def test_sampler_trainer_and_evaluator_name_no_method():
    rooms = {"interaction", "training", "evaluation", "reports"}
    generic = [path for path in LIBRARY if rooms & set(path.parts)]
    generic += [ROOT / "metarl/learners/base.py", ROOT / "metarl/adapted_policy.py"]
    names = [*LEARNERS, *(learner.__name__ for learner in LEARNERS.values())]
    for path in generic:
        found = {
            node.value if isinstance(node, ast.Constant) else node.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant | ast.Name)
        }
        assert not found & set(names), path


def test_learners_and_configs_are_composed_not_derived_from_concrete_ones():
    for first, second in itertools.permutations(LEARNERS.values(), 2):
        assert not issubclass(first, second)
        assert not issubclass(first.Config, second.Config)
    for learner in LEARNERS.values():
        assert not inspect.isabstract(learner)
        for base in learner.__mro__[1:]:
            if base.__module__.startswith("metarl.") and base.__name__ != "MetaLearner":
                assert inspect.isabstract(base), f"{learner.__name__} derives from {base.__name__}"


def test_nothing_asks_which_config_it_has():
    for path in OURS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
                assert "Config" not in ast.unparse(node.args[1]), path
            if isinstance(node, ast.Compare) and "type(" in ast.unparse(node.left):
                assert "Config" not in ast.unparse(node), path


def test_source_folders_are_no_packages():
    for folder in ("envs", "configs", "scripts", "tests"):
        assert not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize("path", ALL, ids=IDS)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            assert lines <= 40, f"{node.name} has {lines} lines"


_OF_NAMEDTUPLES = {"_asdict", "_replace", "_fields"}
# of other packages, which offer no other way
_FOREIGN = {"_repr_html_", "_exit", "_get_obs", "_partially_observable", "_last_rand_vec"}


@pytest.mark.parametrize("path", ALL, ids=IDS)
def test_nobody_reaches_into_what_is_private(path):
    """Names with an underscore are used in the file that defines them, tests included."""
    tree = ast.parse(path.read_text())
    own = {node.attr for node in ast.walk(tree) if _is_of_self(node)}
    own |= {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _private(node.attr) and node.attr not in own:
            assert node.attr in _OF_NAMEDTUPLES | _FOREIGN, ast.unparse(node)
        if isinstance(node, ast.ImportFrom):
            assert not [alias.name for alias in node.names if _private(alias.name)], node.module
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("setattr", "getattr")):
            values = [a.value for a in node.args[:2] if isinstance(a, ast.Constant)]
            assert not [value for value in values if _private(str(value))], ast.unparse(node)


def _private(name):
    return name.startswith("_") and not name.startswith("__") and name != "_"


def _is_of_self(node):
    return isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in ("self", "cls")
