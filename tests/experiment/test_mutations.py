"""Random input: a sentence or a config that runs, never a traceback, a hang, or a late death."""

import copy
import json
import random
import string
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import metarl
from metarl.environments.config import EnvConfig
from metarl.environments.fit import spec_of_env
from metarl.environments.make import make_env
from metarl.experiment.building import build_learner
from metarl.experiment.config import load_config, parse_config, to_yaml
from metarl.experiment.run_record import RunRecord

CONFIGS = sorted(p for p in Path("configs").glob("*/*.yaml") if p.parent.name != "compare")
ODD = [None, True, -1, 0, 1, 2, 3.5, -2.5, 10**9, 10**30, float("nan"), float("inf"), "", "x", "é"]
ODD += ["1", "nan", "${seed}", "null", [], {}, [1], {"name": "maml"}, {"name": "rl2"}, "trpo", "64"]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


def document_of(path):
    return OmegaConf.to_container(OmegaConf.load(path))


def places(node, path=()):
    """All keys and list positions of a document."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(items):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def mutate(document, chooser):
    """A copy with one to three changes: other values, no key, a key misspelt, a key more."""
    document = copy.deepcopy(document)
    for _ in range(chooser.randint(1, 3)):
        paths = list(places(document))
        if not paths:
            return document
        *above, last = chooser.choice(paths)
        node = document
        for key in above:
            node = node[key]
        kind = chooser.randrange(4)
        if kind == 0 or isinstance(node, list):
            node[last] = copy.deepcopy(chooser.choice(ODD))
        elif kind == 1:
            del node[last]
        elif kind == 2:
            node[str(last) + chooser.choice(string.ascii_lowercase)] = node.pop(last)
        else:
            value = node[last]
            scaled = value * chooser.choice([0, -1, 0.5, 10, 1e6]) if _is_number(value) else value
            node[chooser.choice(["seed", "steps", last])] = scaled
    return document


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def check(document):
    """Refuse in one sentence, or build all that a run is made of; True if it is accepted."""
    start = time.monotonic()
    try:
        config = parse_config(document)
        again = parse_config(json.loads(config.model_dump_json()))
        assert again.model_dump_json() == config.model_dump_json()
        small = config.model_copy(
            update={"meta_batch": 1, "episodes": 1, "horizon": min(config.horizon, 10**6)}
        )
        with closing(make_env(small.env, 1, small.horizon)) as env:
            spec = spec_of_env(env)
            env.task_distribution("train").sample(2, 0)
            env.task_distribution(config.evaluation.split).sample(2, 0)
        build_learner(small, spec)
    except metarl.UserError as error:
        assert "\n" not in str(error) and 0 < len(str(error)) < 2000, str(error)
        return False
    finally:
        assert time.monotonic() - start < 30
    return True


def run_mutations(count, seed):
    chooser = random.Random(seed)
    documents = [document_of(path) for path in CONFIGS]
    accepted = 0
    for _ in range(count):
        document = mutate(chooser.choice(documents), chooser)
        try:
            accepted += check(document)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}\n{document}") from error
    # neither everything nor nothing is let through
    assert 0.02 < accepted / count < 0.7


@pytest.mark.slow
def test_mutated_configs_are_refused_in_a_sentence_or_built():
    run_mutations(2000, 0)


@pytest.mark.training
def test_ten_thousand_mutated_configs():
    run_mutations(10_000, 1)


@settings(max_examples=300, deadline=None)
@given(json_values)
def test_any_document_is_a_config_or_a_sentence(document):
    document = document if isinstance(document, dict) else {"env": document}
    with pytest.raises(metarl.ConfigError):
        parse_config({str(key): value for key, value in document.items()})


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=3))
def test_any_override_is_taken_or_a_sentence(overrides):
    try:
        config = load_config(CONFIGS[0], overrides)
    except metarl.ConfigError:
        return
    assert parse_config(config.model_dump(mode="json")) == config


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200) | json_values.map(lambda v: json.dumps(v).encode()))
def test_any_file_is_a_config_a_record_or_a_sentence(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")
    for name, read in (("c.yaml", load_config), ("r.json.gz", RunRecord.read)):
        path = folder / name
        path.write_bytes(content)
        with pytest.raises(metarl.UserError):
            read(path)


@settings(max_examples=200, deadline=None)
@given(tasks=json_values, key=st.sampled_from(["target_velocity", "goal", ""]))
def test_any_task_is_taken_or_a_sentence(cheetahs, tasks, key):
    before = cheetahs.tasks
    try:
        cheetahs.set_tasks({key: tasks} if not isinstance(tasks, dict) else tasks)
    except metarl.UserError:
        assert cheetahs.tasks is before
    else:
        cheetahs.reset(seed=0)


@pytest.fixture(scope="module")
def cheetahs():
    env = make_env(EnvConfig(id="metarl/HalfCheetahVel-v0"), 2, 10)
    yield env
    env.close()


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_shipped_configs_are_accepted_and_survive_the_way_to_yaml(path, tmp_path):
    assert check(document_of(path))
    config = load_config(path)
    (tmp_path / "again.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "again.yaml", interpolate=False) == config
