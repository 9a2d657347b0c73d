"""Records of runs, the results page and the zoo."""

import gzip
import importlib
import json
import sys
from dataclasses import replace

import numpy as np
import pytest

import metarl
from metarl.errors import CheckpointError
from metarl.evaluation.statistics import estimate
from metarl.experiment import zoo
from metarl.experiment.run_figures import figure
from metarl.experiment.run_record import RunRecord, record_run
from metarl.params import flatten


@pytest.fixture(scope="module")
def record(tiny_run):
    return record_run(tiny_run)


@pytest.fixture
def script(monkeypatch):
    """A script as a module."""

    def load(name):
        monkeypatch.syspath_prepend("scripts")
        return importlib.import_module(name)

    yield load
    for name in ("publish", "results"):
        sys.modules.pop(name, None)


def test_a_record_holds_what_evaluations_give(record, tiny_run, tmp_path):
    assert set(record.evaluations) == {"test", "gap", "extrapolation"}
    own = json.loads((tiny_run / "evaluation.json").read_text())
    assert np.allclose(record.scores("test"), own["returns"], rtol=1e-5)
    assert record.evaluations["test"]["tasks"] == own["tasks"]
    assert record.env_steps == 3 * 3 * 4 * 10 * 2 and record.seconds > 0
    record.save(tmp_path / "a.json.gz")
    assert RunRecord.read(tmp_path / "a.json.gz") == record
    RunRecord.read(tmp_path / "a.json.gz").save(tmp_path / "b.json.gz")
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def test_no_record(tmp_path):
    whole = gzip.compress(b"{}" * 1000)
    for content in (b"nothing", whole[:20] + b"x" * 20 + whole[40:], gzip.compress(b"{}")):
        (tmp_path / "x.json.gz").write_bytes(content)
        with pytest.raises(CheckpointError, match="is no record of a run"):
            RunRecord.read(tmp_path / "x.json.gz")


def test_the_page_says_what_the_records_say(record, script, tmp_path, monkeypatch):
    folder = tmp_path / "results/point_navigation"
    for seed in (0, 1):
        record.save(folder / f"maml-seed{seed}.json.gz")
    (tmp_path / "results/published.yaml").write_text(
        "point_navigation: {protocol: As published., figures: [MAML -3.2]}"
    )
    page = tmp_path / "docs/results.md"
    arguments = ["results.py", "--results", tmp_path / "results", "--page", page]
    page.parent.mkdir()
    monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
    script("results").main()
    text = page.read_text()
    value, (low, high) = estimate(np.stack([record.scores("gap")[1]] * 2))
    assert f"{value:.4g} [{low:.4g}, {high:.4g}]" in text
    assert "Published: MAML -3.2." in text and "| maml | test | 0, 0 |" in text
    picture = (page.parent / "results/point_navigation.png").read_bytes()
    script("results").main()
    assert page.read_text() == text
    assert (page.parent / "results/point_navigation.png").read_bytes() == picture


class TestZoo:
    @pytest.fixture
    def published(self, record, tiny_run, tmp_path, script, monkeypatch):
        monkeypatch.setattr(zoo, "FOLDER", tmp_path)
        publish = script("publish")
        monkeypatch.setattr(publish, "FOLDER", tmp_path)
        return publish.publish(tiny_run, record, "point/maml")

    def test_a_published_learner_is_the_trained_one(self, published, tiny_run, record):
        assert metarl.zoo_names() == ["point/maml"]
        learner, trained = metarl.load("zoo:point/maml"), metarl.load(tiny_run)
        assert flatten(learner.meta_parameters).equal(flatten(trained.meta_parameters))
        card = zoo.read_card("point/maml")
        assert card["results"]["test"]["held_out"] and card["env_steps"] == record.env_steps
        assert len(card["results"]["gap"]["iqm"]) == 2

    def test_unknown_names_and_other_weights_are_refused(self, published):
        with pytest.raises(CheckpointError, match="did you mean 'point/maml'"):
            metarl.load("zoo:point/mamml")
        weights = published / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
        with pytest.raises(CheckpointError, match="are not those of its card"):
            metarl.load("zoo:point/maml")

    @pytest.mark.parametrize("name", ["/tmp/other", "point", "..", "../x/y", "a/b/c", ""])
    def test_a_name_reaches_nothing_outside_the_zoo(self, published, record, tiny_run, name):
        before = sorted(published.parents[1].rglob("*"))
        publish = sys.modules["publish"].publish
        with pytest.raises(metarl.ConfigError, match="must be ENV/METHOD"):
            publish(tiny_run, record, name)
        assert sorted(published.parents[1].rglob("*")) == before

    def test_the_record_of_another_run_is_refused(self, published, record, tiny_run):
        other = replace(record, config={**record.config, "seed": 7})
        with pytest.raises(metarl.ConfigError, match="seed was 0, not 7"):
            sys.modules["publish"].publish(tiny_run, other, "point/maml")
        assert metarl.zoo_names() == ["point/maml"]


def test_lost_episodes_are_told_in_every_table():
    scores = np.zeros((1, 10, 10))
    scores[0, 0, :5] = np.nan
    assert figure(scores, 4) == "0 [0, 0], 5.0 % diverged"
    scores[0, 0:2] = np.nan
    assert figure(scores, 4) == "none, 20 % diverged"
    assert figure(np.ones((1, 1, 3)), 4) == "1"


_MANY_TASKS = 5


@pytest.mark.slow
@pytest.mark.parametrize("name", metarl.zoo_names())
def test_every_pretrained_learner_reaches_the_figure_of_its_card(name):
    card = zoo.read_card(name)
    result = metarl.evaluate(
        metarl.load(f"zoo:{name}"), card["environment"], split="test", **card["evaluation"]
    )
    written = card["results"]["test"]
    assert result.held_out == written["held_out"]
    # Processors round otherwise, and a chaotic robot then lives through other episodes: the figure
    # is another sample of as many. How far such samples differ the deviation of a task's own
    # episodes tells; twice as far where there are too few tasks for the interval to bound it (two
    # directions), since a task's episodes also share the rollouts that were adapted to.
    num_tasks, episodes = result.returns.shape[1:]
    variances = result.returns.var(-1, ddof=1).mean(-1) / (num_tasks * episodes)
    for step, value, (low, high), variance in zip(
        result.summary, written["iqm"], written["interval"], variances, strict=True
    ):
        noise = 3 * np.sqrt(2 * variance)
        allowed = max((high - low) / 4, noise) if num_tasks >= _MANY_TASKS else 2 * noise
        assert step.iqm.value == pytest.approx(value, abs=allowed)
