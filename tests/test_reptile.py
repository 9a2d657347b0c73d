import torch
from test_learners import World


def test_reptile_with_one_step_moves_along_the_mean_gradient():
    world = World("reptile")
    learner = world.learner
    learner.config = learner.config.model_copy(
        update={"inner": learner.config.inner.model_copy(update={"steps": 1})}
    )
    theta = {name: value.clone() for name, value in learner.meta_parameters.items()}
    support, _ = world.collect(world.begin(), 1)
    adapted = learner.adapt(world.begin(), support).params_M
    world.iterate()
    for name, value in learner.meta_parameters.items():
        expected = theta[name] + 0.5 * (adapted[name].mean(0) - theta[name])
        torch.testing.assert_close(value, expected)
