"""Meta-World's ML1, ML10, ML25 and ML45 (Yu et al. 2020, arXiv 1910.10897).

Built on its `ML1(...)`-style classes and `set_task`: the registered id `Meta-World/ML1-train`
serves the test goals. metaworld 3.1.1 pins an older MuJoCo; it runs on the one needed here once its
weld constraints are written as this file does, so install it without its dependencies:

    pip install --no-deps metaworld==3.1.1
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.tasks.distributions import ListTasks, TaskDistribution

_BENCHMARKS = ("ML1", "ML10", "ML25", "ML45")
# anchor, relative pose, and torque scale of the weld between mocap body and hand
_WELD = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0])


class MetaWorld(gymnasium.Env):
    """One Meta-World task at a time; goals hidden from the observation.

    Tasks: `{"task": index}` into the benchmark's training tasks followed by its test tasks (ML1:
    50 goals each; ML10, ML25, ML45: 50 goals of each family, other families in the test; the
    family that metaworld 3.1.1 has in both lists of ML25 is left out of the test).
    `info["success"]` reports success; episodes never end on it, and last 500 steps.

    Args:
        benchmark: "ML1", "ML10", "ML25" or "ML45".
        name: the task family of ML1, such as "reach-v3".
        seed: of the goals.
        render_mode: "human", "rgb_array", or None.

    Raises:
        EnvironmentConfigError: if metaworld is missing or the name unknown.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 80}

    def __init__(
        self,
        benchmark: str = "ML1",
        name: str = "reach-v3",
        seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = render_mode
        metaworld = _import_metaworld()
        if benchmark not in _BENCHMARKS:
            raise EnvironmentConfigError(
                f"benchmark must be one of {', '.join(_BENCHMARKS)}, got {benchmark!r}"
            )
        arguments = (name,) if benchmark == "ML1" else ()
        if benchmark == "ML1" and name not in metaworld.ALL_V3_ENVIRONMENTS:
            raise EnvironmentConfigError(f"Meta-World has no task family {name!r}")
        suite = getattr(metaworld, benchmark)(*arguments, seed=seed)
        self._classes = {**suite.train_classes, **suite.test_classes}
        test_tasks = suite.test_tasks
        if benchmark != "ML1":
            # ML25 of metaworld 3.1.1 has basketball in both lists
            test_tasks = [t for t in test_tasks if t.env_name not in suite.train_classes]
        self.tasks = [*suite.train_tasks, *test_tasks]
        self._num_train = len(suite.train_tasks)
        self.task_space = spaces.Dict({"task": spaces.Discrete(len(self.tasks))})
        self._families: dict[str, Any] = {}  # built when first needed: each is tens of MiB
        self.set_task({"task": 0})
        self.observation_space = self.env.observation_space
        self.action_space = self.env.action_space

    def task_distribution(self, split: str) -> TaskDistribution:
        """The benchmark's own training ("train") or test tasks ("test")."""
        count = len(self.tasks)
        indices = {"train": (0, self._num_train), "test": (self._num_train, count)}
        return ListTasks({"task": np.arange(*indices[split])})

    def set_task(self, task: dict[str, Any]) -> None:
        """Choose family and goal, in force from the next reset."""
        chosen = self.tasks[int(task["task"])]
        if chosen.env_name not in self._families:
            made = self._classes[chosen.env_name](render_mode=self.render_mode)
            self._families[chosen.env_name] = made
        self.env = self._families[chosen.env_name]
        self.env.set_task(chosen)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode of the current task."""
        super().reset(seed=seed)
        return self.env.reset(seed=seed)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advance by one control step; never terminates on success."""
        obs, reward, _, truncated, info = self.env.step(action)
        return obs, float(reward), False, bool(truncated), info

    def render(self) -> Any:
        """A frame, in the way of `render_mode`."""
        return self.env.render()

    def close(self) -> None:
        """Close every family that was built."""
        for env in self._families.values():
            env.close()


def _import_metaworld() -> Any:
    try:
        import metaworld
        from metaworld.sawyer_xyz_env import SawyerMocapBase
    except ImportError:
        raise EnvironmentConfigError(
            "Meta-World is not installed: pip install --no-deps metaworld==3.1.1"
        ) from None
    base: Any = SawyerMocapBase
    base.reset_mocap_welds = _reset_mocap_welds
    return metaworld


def _reset_mocap_welds(env: Any) -> None:
    """Write the weld's 11 numbers; a row of `eq_data` has more since MuJoCo 3.4."""
    import mujoco

    welds = env.model.eq_type == int(mujoco.mjtEq.mjEQ_WELD)
    env.model.eq_data[welds, : len(_WELD)] = _WELD
