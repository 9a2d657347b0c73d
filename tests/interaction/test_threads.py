"""Learning on all cores: the same bits on any number of them, and one task alone as in a batch."""

import pytest
import torch
from small_runs import SmallRun, tensors, vector

from metarl.interaction.threads import on_all_cores, single_threaded, task_chunks

FALLS = "metarl/HopperVel-v0"


@pytest.mark.parametrize("name", ["maml", "promp", "rl2", "meta_sgd"])
@pytest.mark.parametrize("env_id", ["metarl/HalfCheetahVel-v0", FALLS])
def test_bits_do_not_depend_on_the_number_of_threads(name, env_id):
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        run = SmallRun(name, env_id, num_tasks=9, episodes=8, h=50)
        run.iterate(2)
        assert torch.get_num_threads() == threads
        results.append(vector(run.learner))
    torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@pytest.mark.parametrize("name", ["maml", "cavia", "rl2"])
def test_one_task_alone_adapts_as_in_a_batch_where_robots_fall(name):
    run = SmallRun(name, FALLS, num_tasks=4, h=50)
    state = run.begin()
    rollouts = run.collect(state)
    assert rollouts.lengths_ME.min() < rollouts.lengths_ME.max()
    together = tensors(run.learner.adapt(state, rollouts))
    for task in range(4):
        one = slice(task, task + 1)
        alone = tensors(run.learner.adapt(run.learner.begin(1, 4), rollouts.task_slice(one)))
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a, b[one], atol=1e-5, rtol=1e-4)


def test_work_runs_in_order_with_one_thread_of_arithmetic_each():
    torch.set_num_threads(2)
    with single_threaded():
        found = on_all_cores(lambda item: (item, torch.get_num_threads()), list(range(7)))
    assert found == [(item, 1) for item in range(7)]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 20, 40])
def test_chunks_cover_all_tasks_in_order(num_tasks):
    for states in (None, 1, 100, 10_000):
        chunks = task_chunks(num_tasks, 4, states)
        covered = [task for chunk in chunks for task in range(num_tasks)[chunk]]
        assert covered == list(range(num_tasks))
        assert len(chunks) == 1 or len(chunks) % 2 == 0 or len(chunks) == num_tasks
