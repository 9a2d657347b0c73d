import pytest

from metarl.benchmark import Bench, Workload, cost, deviation_from_line
from metarl.errors import UserError

TINY = Workload("metarl/HalfCheetahVel-v0", 2, 2, 40)


def test_every_speed_comes_with_its_ratio_to_the_physics():
    bench = Bench(TINY)
    figures = bench.compare(["sampling", "iteration", "adaptation"], repeats=2)
    bench.close()
    assert set(figures) == {
        f"{name}_steps_per_s" for name in ("physics", "sampling", "iteration", "adaptation")
    } | {
        f"{name}_{kind}"
        for name in ("sampling", "iteration", "adaptation")
        for kind in ("ratio", "share")
    }
    assert all(0 < figures[f"{name}_share"] < 1 for name in ("sampling", "iteration", "adaptation"))
    assert all(value > 0 for value in figures.values())


@pytest.mark.slow
def test_cost_is_that_of_a_process_of_its_own():
    figures = cost(TINY)
    assert figures["env_steps"] == 2 * 2 * 2 * 40
    assert figures["seconds"] > 0
    assert 0 <= figures["own_rss_mib"] < figures["peak_rss_mib"]


def test_an_environment_without_physics_is_refused():
    with pytest.raises(UserError, match="no physics engine"):
        Bench(Workload("metarl/PointNavigation-v0", 2, 2, 40))


def test_deviation_from_a_line():
    sizes = [1, 2, 4, 8]
    assert deviation_from_line(sizes, [3.0 + 2.0 * size for size in sizes]) == pytest.approx(0.0)
    assert deviation_from_line(sizes, [size**2 for size in sizes]) > 0.2


def test_the_limit_goes_through_the_states_of_the_rollouts():
    bench = Bench(TINY)
    bench.sampling(1)
    after_sampling = bench._robot.qpos.copy()
    bench.physics()
    assert (bench._robot.qpos == after_sampling).all()
    bench.close()
