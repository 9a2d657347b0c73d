"""Rollouts tell how far they are, to whom it concerns."""

import io

import pytest
from rich.console import Console
from small_runs import SmallRun

from metarl import command_line
from metarl.watching import watched_by, watcher


def test_every_step_is_told_and_nobody_is_told_afterwards():
    run, seen = SmallRun("maml"), []
    with watched_by(lambda *told: seen.append(told)):
        run.collect(run.begin())
    run.collect(run.begin())
    assert seen == [(t + 1, run.h) for t in range(run.h)]
    assert watcher()(1, 2) is None
    assert len(seen) == run.h


@pytest.mark.parametrize("terminal", [True, False])
def test_a_command_shows_how_far_its_rollouts_are(terminal, monkeypatch):
    shown, run = io.StringIO(), SmallRun("maml")

    def console(stderr):
        return Console(file=shown, force_terminal=terminal, width=80)

    monkeypatch.setattr("rich.console.Console", console)
    with command_line.working("evaluating"):
        run.collect(run.begin())
        run.collect(run.begin())
    assert ("rollouts 2, step 12 of 12" in shown.getvalue()) == terminal
    assert bool(shown.getvalue()) == terminal
