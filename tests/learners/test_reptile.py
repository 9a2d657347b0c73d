import torch
from small_runs import SmallRun


def test_reptile_with_one_step_moves_along_the_mean_gradient():
    run = SmallRun("reptile", inner={"steps": 1})
    theta = {name: value.clone() for name, value in run.learner.meta_parameters.items()}
    adapted = run.step(run.begin(), 1).params_M
    run.iterate()
    for name, value in run.learner.meta_parameters.items():
        expected = theta[name] + 0.5 * (adapted[name].mean(0) - theta[name])
        torch.testing.assert_close(value, expected)


def test_model_averaging_goes_all_the_way():
    run = SmallRun("model_averaging", inner={"steps": 1})
    adapted = run.step(run.begin(), 1).params_M
    run.iterate()
    for name, value in run.learner.meta_parameters.items():
        torch.testing.assert_close(value, adapted[name].mean(0))
