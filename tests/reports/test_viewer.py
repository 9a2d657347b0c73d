"""The live viewer: what its controls do, and that a browser shows them."""

import argparse
import re
import shutil
import threading
import time

import pytest
from small_runs import SmallRun

import metarl
from metarl.commands.watch import session_of
from metarl.errors import ConfigError, UserError
from metarl.reports.viewer.browser import BrowserViewer
from metarl.reports.viewer.session import Session, status

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
CHEETAH = "zoo:half_cheetah_vel/maml_trpo"


@pytest.fixture(scope="module")
def cheetah():
    return metarl.load(CHEETAH)


def test_a_session_lives_adapts_and_forgets(cheetah):
    session = Session(cheetah, {"target_velocity": 2.0}, episodes=3)
    before = [session.advance() for _ in range(200)]
    assert before == [False] * 199 + [True] and len(session.finished) == 1
    session.adapt()
    assert session.steps == 1 and session.total == 0.0
    for _ in range(200):
        session.advance()
    assert session.last_return(True) > session.last_return(False) + 10
    assert re.search(r"return before: \*\*-\d+\.\d\*\*, after: \*\*-\d", status(session))
    for _ in range(50):
        session.advance()
    session.forget()  # an episode of two policies counts for neither
    for _ in range(200):
        session.advance()
    assert session.finished[-1] == session.finished[0] and len(session.finished) == 3
    session.close()


def test_numbers_of_tasks_have_the_ranges_of_training_and_beyond(cheetah):
    session = Session(cheetah)
    (number,) = session.numbers
    assert number.name == "target_velocity" and number.low < 0.2 and number.high > 2.1
    session.change_task({"target_velocity": 1.0})
    assert float(session.task["target_velocity"]) == 1.0
    with pytest.raises(UserError, match="unknown task key"):
        session.change_task({"velocity": 1.0})
    session.close()


def test_whole_numbers_and_wishes_that_cannot_be_granted():
    session = Session(metarl.load("zoo:half_cheetah_dir/rl2"), episodes=1)
    assert [number.whole for number in session.numbers] == [True]
    viewer = BrowserViewer(session, port=0, speed=100.0)
    alive = threading.Thread(target=viewer.run)
    alive.start()
    try:
        viewer.wish(lambda: session.change_task({"forward": 0.5}))
        viewer.wish(lambda: session.change_task({"forward": 1}))
        for _ in range(100):
            time.sleep(0.05)
            if float(session.task["forward"]) == 1.0:
                break
        assert alive.is_alive() and float(session.task["forward"]) == 1.0
    finally:
        viewer.close()
        alive.join()
        session.close()


def test_adaptation_is_to_the_robot_as_it_is(cheetah):
    session = Session(cheetah, {"target_velocity": 1.0}, episodes=1)
    session.adapt()
    whole = session.policy.state.params_M["log_std"].clone()
    session.forget()
    session.env.kill(0)
    session.adapt()
    assert not session.policy.state.params_M["log_std"].equal(whole)
    session.close()


def test_bad_sessions(cheetah):
    with pytest.raises(ConfigError, match="episodes must be positive"):
        Session(cheetah, episodes=0)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("name", [CHEETAH, "zoo:point_navigation/maml_trpo"])
def test_a_browser_shows_the_robot_and_adapts_it(name, tmp_path):
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    session = Session(metarl.load(name), episodes=2, render_mode="rgb_array")
    viewer = BrowserViewer(session, port=0, speed=50.0)
    alive = threading.Thread(target=viewer.run)
    alive.start()
    try:
        with api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            errors = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(viewer.url)
            page.get_by_role("button", name="Adapt").wait_for(timeout=60_000)
            page.get_by_text("adaptation steps: 0").wait_for()
            page.wait_for_function(
                "() => /return before: -?\\d/.test(document.body.innerText)", timeout=60_000
            )
            page.get_by_role("button", name="Adapt").click()
            page.get_by_text("adaptation steps: 1").wait_for(timeout=60_000)
            page.wait_for_function(
                "() => /after: -?\\d/.test(document.body.innerText)", timeout=60_000
            )
            page.screenshot(path=tmp_path / "viewer.png")
            browser.close()
    finally:
        viewer.close()
        alive.join()
        session.close()
    assert errors == [] and session.steps == 1
    assert viewer.url.startswith("http://127.0.0.1:")


def test_a_robot_that_draws_no_picture_is_watched_without(capsys):
    run = SmallRun("maml", env_id="plugged:Point-v0", env_kwargs={"goal": 0.0}, h=25)
    arguments = argparse.Namespace(episodes=2, seed=0)
    session = session_of(run.learner, None, arguments)
    assert session.env.render_mode is None
    assert "without a picture: plugged:Point-v0 cannot be drawn" in capsys.readouterr().out
    viewer = BrowserViewer(session, port=0, speed=100.0)
    alive = threading.Thread(target=viewer.run)
    alive.start()
    try:
        viewer.wish(session.adapt)
        for _ in range(200):
            time.sleep(0.05)
            if session.steps and session.finished:
                break
        assert alive.is_alive() and session.steps == 1 and session.finished
    finally:
        viewer.close()
        alive.join()
        session.close()
