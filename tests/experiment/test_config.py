from contextlib import closing
from pathlib import Path

import pytest

import metarl
from metarl.environments.fit import spec_of_env
from metarl.environments.make import make_env
from metarl.experiment.building import build_learner, from_checkpoint
from metarl.experiment.checkpoint import Checkpoint
from metarl.experiment.config import load_config, parse_config, to_yaml

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(p for p in (ROOT / "configs").rglob("*.yaml") if p.parent.name != "compare")
MAML = ROOT / "configs/half_cheetah_vel/maml_trpo.yaml"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_shipped_configs_load(path):
    config = load_config(path)
    assert config.env.id in metarl.experiment.config.LEARNERS or config.env.id.startswith("metarl/")
    assert len(path.read_text().splitlines()) <= 30


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_what_shipped_configs_train_can_be_loaded(path):
    """The limit of a file of weights is one of networks, not of what plans or collects by them."""
    config = load_config(path)
    with closing(make_env(config.env, 1, config.horizon)) as env:
        spec = spec_of_env(env)
    learner = build_learner(config, spec)
    weights, training = learner.meta_parameters, learner.training_state()
    checkpoint = Checkpoint(path.parent, config, weights, training, spec, 0, {})
    loaded = from_checkpoint(checkpoint, config).meta_parameters
    assert all(loaded[name].equal(value) for name, value in weights.items())


def test_resolved_config_reads_back_equal(tiny_config, tmp_path):
    (tmp_path / "c.yaml").write_text(to_yaml(tiny_config))
    assert load_config(tmp_path / "c.yaml") == tiny_config


def test_another_learner_is_one_override():
    """Its section starts anew: the keys of the old one are not its own."""
    for name in ("promp", "reptile", "multi_task"):
        config = load_config(MAML, [f"learner.name={name}"])
        assert type(config.learner).__name__.lower().startswith(name.replace("_", "")[:5])
    config = load_config(MAML, ["learner.inner.steps=2", "learner.name=promp"])
    assert config.learner.inner.steps == 2 and config.learner.name == "promp"
    same = load_config(MAML, ["learner.name=maml"])
    assert same == load_config(MAML)
    rl2 = load_config(MAML, ["learner.name=rl2", "~policy"])
    assert rl2.learner.name == "rl2"


def test_a_key_is_taken_away():
    for same in ('learner.name="maml"', "learner.name= maml", "learner.name=maml"):
        assert load_config(MAML, ["learner.inner.steps=2", same]).learner.inner.steps == 2
    kept = load_config(MAML, ["env.kwargs.seed=7", "env.kwargs.name=reach-v3"]).env.kwargs
    assert kept["seed"] == 7 and kept["name"] == "reach-v3"
    again = load_config(MAML, ["env.kwargs.name=a", "env.kwargs.name=b"])
    assert again.env.kwargs["name"] == "b" and "action_scale" in again.env.kwargs
    undone = load_config(MAML, ["learner.inner.steps=2", "~learner.inner.steps"])
    assert undone.learner.inner.steps == 1
    assert load_config(MAML, ["~evaluation"]).evaluation.adaptation_steps == 3
    for override in ("~evaluation.nothing", "~nothing.at.all", "~"):
        with pytest.raises(metarl.ConfigError, match="the config has no key"):
            load_config(MAML, [override])
    with pytest.raises(metarl.ConfigError, match=r"must have the form key.sub=value or ~key.sub"):
        load_config(MAML, ["seed"])


def test_overrides():
    config = load_config(MAML, ["meta_batch=7", "learner.outer.max_kl=2e-3", "seed=4"])
    assert config.meta_batch == 7 and config.seed == 4
    assert config.learner.outer.max_kl == 0.002


def test_configs_are_frozen(tiny_config):
    with pytest.raises(ValueError, match="frozen"):
        tiny_config.seed = 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("meta_bacth=3", "unknown key 'meta_bacth' (did you mean 'meta_batch'?); allowed here:"),
        ("learner.iner.steps=1", "unknown key 'learner.iner' (did you mean 'inner'?)"),
        ("learner.inner.step=1", "unknown key 'learner.inner.step' (did you mean 'steps'?)"),
        ("learner.name=mamml", "name 'mamml' is unknown (did you mean 'maml'?); allowed: maml"),
        ("meta_batch=0", "key 'meta_batch' is 0, must be greater than 0"),
        ("episodes=-2", "key 'episodes' is -2, must be greater than 0"),
        ("horizon=1.5", "key 'horizon' is 1.5, must be a valid integer"),
        ("iterations=many", "key 'iterations' is 'many', must be a valid integer"),
        ("learner.outer.max_kl=-1", "key 'learner.outer.max_kl' is -1, must be greater than 0"),
        ("learner.outer.max_kll=1", "unknown key 'learner.outer.max_kll' (did you mean 'max_kl'?)"),
        ("learner.outer.name=sgd", "key 'learner.outer.name' is 'sgd', must be one of 'trpo'"),
        ("learner.inner.objective=dise", "must be 'likelihood_ratio', 'score_function' or 'dice'"),
        ("learner.inner.step_sizes=[]", "key 'learner.inner.step_sizes' is []"),
        ("policy.hidden_sizes=[0]", "key 'policy.hidden_sizes.0' is 0, must be greater than 0"),
        ("device=tpu", "key 'device' is 'tpu', must be 'cpu' or 'cuda'"),
        ("env.plugin.num_worker=2", "(did you mean 'num_workers'?)"),
        ("nonsense", "override 'nonsense' must have the form key.sub=value"),
    ],
)
def test_mistakes_are_one_sentence(override, message):
    with pytest.raises(metarl.ConfigError) as error:
        load_config(MAML, [override])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_missing_keys_and_files(tmp_path):
    with pytest.raises(metarl.ConfigError, match="key 'env' is missing"):
        parse_config({"learner": {"name": "maml"}})
    with pytest.raises(metarl.ConfigError, match="mapping with a 'name'"):
        load_config(MAML, ["learner=maml"])
    with pytest.raises(metarl.ConfigError, match="no config file"):
        load_config(tmp_path / "nowhere.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1, 2\nb: }")
    with pytest.raises(metarl.ConfigError, match="cannot read"):
        load_config(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(metarl.ConfigError):
        load_config(tmp_path / "list.yaml")


@pytest.mark.parametrize(
    ("learner", "message"),
    [
        (
            {"name": "promp", "outer": {"name": "trpo"}},
            "'learner.outer.name' is 'trpo', must be 'ppo'",
        ),
        ({"name": "reptile", "outer": {"name": "trpo"}}, "unknown key 'learner.outer'"),
        ({"name": "model_averaging", "outer_step_size": 0.5}, "unknown key 'learner.outer_step_s"),
        ({"name": "multi_task", "inner": {"steps": 2}}, "unknown key 'learner.inner.steps'"),
        (
            {"name": "maml", "outer": {"name": "ppo", "max_kl": 0.1}},
            "unknown key 'learner.outer.max_kl'",
        ),
    ],
)
def test_outer_optimisers_that_a_method_does_not_define(learner, message, tiny_document):
    with pytest.raises(metarl.ConfigError) as error:
        parse_config({**tiny_document, "learner": learner})
    assert message in str(error.value)


def test_outer_default_keeps_its_name(tiny_document):
    learner = {"name": "maml", "outer": {"max_kl": 0.02}}
    config = parse_config({**tiny_document, "learner": learner})
    assert config.learner.outer.name == "trpo" and config.learner.outer.max_kl == 0.02


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policy.hidden_sizes=64", "key 'policy.hidden_sizes' is 64, must be a list"),
        (
            "env.plugin.tasks={goal: {low: 0, high: 1, lw: 1}}",
            "unknown key 'env.plugin.tasks.goal.lw'",
        ),
        ("env.plugin.tasks=[3]", "key 'env.plugin.tasks' is [3], must be a mapping"),
    ],
)
def test_messages_name_what_there_is(override, message):
    with pytest.raises(metarl.ConfigError) as caught:
        load_config(MAML, [override])
    assert message in str(caught.value)
    assert "tuple" not in str(caught.value) and not str(caught.value).endswith(": ")
