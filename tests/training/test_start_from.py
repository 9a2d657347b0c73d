"""Training that begins with what another one has learned."""

import csv
import io
import json
import shutil
from dataclasses import replace

import pytest
import torch
from rich.console import Console

import metarl
from metarl.experiment.building import build_learner, start_from
from metarl.experiment.checkpoint import checkpoint_path, read_checkpoint
from metarl.experiment.config import parse_config
from metarl.experiment.run_figures import mean_cost
from metarl.experiment.run_record import record_run
from metarl.params import flatten
from metarl.training.callbacks import Callback


class AtTheStart(Callback):
    def on_start(self, run):
        self.parameters = flatten(run.learner.meta_parameters)
        self.cost = run.cost


def started(document, folder, **keys):
    """A training of one iteration, what it began with, and what it printed."""
    seen, printed = AtTheStart(), io.StringIO()
    config = parse_config({**document, "iterations": 1, **keys})
    console = Console(file=printed, width=200)
    metarl.train(config, folder, callbacks=[seen], console=console)
    return seen, printed.getvalue()


def test_begins_with_the_parameters_and_counts_their_cost(tiny_document, tiny_run, tmp_path):
    seen, printed = started(tiny_document, tmp_path / "run", start_from=str(tiny_run))
    assert seen.parameters.equal(flatten(metarl.load(tiny_run).meta_parameters))
    before, after = read_checkpoint(tiny_run).cost, read_checkpoint(tmp_path / "run").cost
    assert seen.cost == before and before.env_steps > 0 and before.seconds > 0
    assert after.env_steps == before.env_steps + 2 * 3 * 4 * 10
    with (tmp_path / "run/progress.csv").open() as file:
        own = float(next(csv.DictReader(file))["time/iteration_s"])
    assert after.seconds == pytest.approx(before.seconds + own)
    assert "begins with the parameters" in printed and "its own" not in printed


def test_the_time_before_a_pause_counts_and_that_of_older_checkpoints_is_not_known(
    tiny_document, tmp_path
):
    longer = parse_config({**tiny_document, "iterations": 2})
    for config in (parse_config({**tiny_document, "iterations": 1}), longer):
        metarl.train(config, tmp_path / "run", resume=True)
    with (tmp_path / "run/progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    cost = read_checkpoint(tmp_path / "run").cost
    assert cost.seconds == pytest.approx(sum(float(row["time/iteration_s"]) for row in rows))
    assert cost.metrics() == {key: float(rows[-1][key]) for key in cost.metrics()}
    path = checkpoint_path(tmp_path / "run", 2) / "metadata.json"
    metadata = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in metadata.items() if k != "seconds"}))
    started(tiny_document, tmp_path / "later", start_from=str(tmp_path / "run"))
    record = record_run(tmp_path / "later")
    assert record.seconds is None and record.env_steps == cost.env_steps + 2 * 3 * 4 * 10
    assert mean_cost([record, replace(record, seconds=60.0)]) == (record.env_steps, None)


def rma_of(document, spec, latent_size=8):
    keys = {"learner": {"name": "rma", "latent_size": latent_size, "teacher_iterations": 1}}
    return build_learner(parse_config({**document, "policy": {}, **keys}), spec)


def test_what_does_not_fit_stays_as_drawn(tiny_document, tiny_run):
    """A latent of another size: the encoder's and the policy's networks, not what was counted."""
    checkpoint = read_checkpoint(tiny_run)
    source = rma_of(tiny_document, checkpoint.spec)
    with torch.no_grad():
        given = {name: value + 1 for name, value in source.meta_parameters.items()}
    learner = rma_of(tiny_document, checkpoint.spec, latent_size=5)
    drawn = {name: value.clone() for name, value in learner.meta_parameters.items()}
    own = start_from(learner, replace(checkpoint, weights=given), ["goal"]).own
    parts = {name.partition(".")[0] for name in drawn}
    assert "encoder" in own and "told" not in own and set(own) < parts
    for name, value in learner.meta_parameters.items():
        expected = drawn if name.partition(".")[0] in own else given
        assert torch.equal(value, expected[name]), name


def test_what_depends_on_the_tasks_meaning_is_taken_for_the_same_keys(tiny_document, tiny_run):
    checkpoint = read_checkpoint(tiny_run)
    learner = rma_of(tiny_document, checkpoint.spec)
    source = replace(checkpoint, weights={n: v + 1 for n, v in learner.meta_parameters.items()})
    assert start_from(learner, source, ["goal"]).own == []
    assert set(start_from(learner, source, ["friction"]).own) == {"encoder", "told"}


def told(name, tiny_document, spec):
    taught = {} if name == "sysid" else {"teacher_iterations": 1}
    keys = {"learner": {"name": name, **taught}, "policy": {}}
    return build_learner(parse_config({**tiny_document, **keys}), spec)


@pytest.mark.parametrize("name", ["rma", "distillation", "sysid"])
@pytest.mark.parametrize("source", ["rma", "distillation", "sysid"])
def test_a_teacher_is_taken_for_a_teacher(tiny_document, tiny_run, name, source):
    """Never distillation's student, whose policy goes by the name of RMA's teacher."""
    prefix = {"rma": "head.policy.", "sysid": "head.policy.", "distillation": "teacher."}
    checkpoint = read_checkpoint(tiny_run)
    taught = told(source, tiny_document, checkpoint.spec)
    weights = {key: value + 1 for key, value in taught.meta_parameters.items()}
    config = checkpoint.config.model_copy(update={"learner": taught.config})
    learner = told(name, tiny_document, checkpoint.spec)
    own = start_from(learner, replace(checkpoint, weights=weights, config=config), ["goal"]).own
    without_student = source == "sysid" and name != "sysid"
    assert set(own) == ({"memory", "head"} if without_student else set())
    found = learner.meta_parameters
    teacher = [key for key in found if key.startswith(prefix[name])]
    assert teacher
    for key in teacher:
        there = prefix[source] + key.removeprefix(prefix[name])
        # a head is taken whole, and that of RMA holds what estimates the latent too
        taken = (name, source) != ("rma", "sysid")
        assert torch.equal(found[key], weights[there]) == taken, key


@pytest.mark.parametrize("name", ["maml", "meta_sgd", "multi_task"])
def test_a_policy_without_adaptation_is_where_a_gradient_based_learner_begins(
    tiny_document, tiny_run, name
):
    """The same network, whose weights torch holds the other way round; rates stay its own."""
    checkpoint = read_checkpoint(tiny_run)
    keys = {"policy": {"hidden_sizes": [7, 5]}, "horizon": 10}
    plain = parse_config({**tiny_document, "learner": {"name": "domain_randomization"}, **keys})
    source = build_learner(plain, checkpoint.spec)
    weights = {key: value + 0.1 for key, value in source.meta_parameters.items()}
    source.load_meta_parameters(weights)
    other = replace(checkpoint, weights=weights, config=plain)
    learner = build_learner(
        parse_config({**tiny_document, "learner": {"name": name}, **keys}), checkpoint.spec
    )
    begun = start_from(learner, other, ["goal"])
    assert begun.own == (["step_size"] if name == "meta_sgd" else [])
    assert all(value.is_contiguous() for value in learner.meta_parameters.values())
    obs = torch.randn(6, checkpoint.spec.obs_size)
    same = [one.acting_module(one.begin(1, 1))(obs)[0] for one in (learner, source)]
    torch.testing.assert_close(*same)
    noise = learner.meta_parameters["log_std"]
    assert torch.equal(noise, weights["log_std"])


def test_it_is_told_that_what_was_seen_was_normalised(tiny_document, tiny_run):
    """The same network acts otherwise on what is not."""
    checkpoint = read_checkpoint(tiny_run)
    on = {"normalization": {"observations": True}}
    plain, normalised, off = (
        parse_config({**tiny_document, "learner": {"name": name, **keys}, "policy": {}})
        for name, keys in (("domain_randomization", on), ("maml", on), ("maml", {}))
    )
    weights = build_learner(plain, checkpoint.spec).meta_parameters
    source = replace(checkpoint, weights=weights, config=plain)
    found = start_from(build_learner(off, checkpoint.spec), source, ["goal"])
    assert "what it saw was normalised" in found.remarks[0]
    assert start_from(build_learner(normalised, checkpoint.spec), source, ["goal"]).remarks == []


def test_layers_are_one_part_and_a_deviation_alone_is_nothing(tiny_document, tiny_run):
    """64-64 under other layers is no beginning, nor is the noise of other actions."""
    checkpoint = read_checkpoint(tiny_run)
    config = parse_config({**tiny_document, "policy": {"hidden_sizes": [9]}})
    with pytest.raises(metarl.ConfigError, match=r"run of maml, fits: .* has shape .* there, and"):
        start_from(build_learner(config, checkpoint.spec), checkpoint, ["goal"])
    with pytest.raises(metarl.ConfigError, match=r"no network of .* fits: it has no layer_0.w"):
        learner = build_learner(parse_config(tiny_document), checkpoint.spec)
        start_from(learner, foreign(checkpoint), ["goal"])


def test_tells_what_differs(tiny_document, tiny_run, tmp_path):
    kwargs = {"action_scale": 3.0}
    env = {**tiny_document["env"], "kwargs": {**tiny_document["env"].get("kwargs", {}), **kwargs}}
    _, printed = started(tiny_document, tmp_path / "a", start_from=str(tiny_run), env=env)
    assert "actions had other bounds" in printed and "env.id" not in printed
    env = {"id": "metarl/PointNavigationSparse-v0"}
    _, printed = started(tiny_document, tmp_path / "b", start_from=str(tiny_run), env=env)
    assert "env.id was metarl/PointNavigation-v0" in printed


def foreign(checkpoint):
    """A checkpoint none of whose names is known."""
    weights = {f"other.{name}": value for name, value in checkpoint.weights.items()}
    return replace(checkpoint, weights=weights)


def test_numbers_that_are_not_finite_are_not_taken(tiny_config, tiny_run):
    checkpoint = read_checkpoint(tiny_run)
    name = next(iter(checkpoint.weights))
    checkpoint.weights[name] = torch.full_like(checkpoint.weights[name], torch.nan)
    learner = build_learner(tiny_config, checkpoint.spec)
    with pytest.raises(metarl.ConfigError, match="fits"):
        start_from(learner, checkpoint, ["goal"])
    assert flatten(learner.meta_parameters).isfinite().all()


def test_resuming_does_not_begin_again(tiny_document, tiny_run, tmp_path):
    source = shutil.copytree(tiny_run, tmp_path / "source")
    document = {**tiny_document, "start_from": str(source)}
    whole = metarl.train(parse_config({**document, "iterations": 2}), tmp_path / "whole")
    metarl.train(parse_config({**document, "iterations": 1}), tmp_path / "run")
    shutil.rmtree(source)
    config = parse_config({**document, "iterations": 2})
    again = metarl.train(config, tmp_path / "run", resume=True)
    assert (again.returns == whole.returns).all()
    with pytest.raises(metarl.UserError, match="start_from was"):
        changed = parse_config({**tiny_document, "iterations": 2})
        metarl.train(changed, tmp_path / "run", resume=True)


def test_a_source_that_is_not_there_leaves_nothing_behind(tiny_document, tmp_path):
    config = parse_config({**tiny_document, "start_from": str(tmp_path / "nowhere")})
    with pytest.raises(metarl.UserError, match="no run or checkpoint folder"):
        metarl.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
