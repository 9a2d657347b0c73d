"""Any Gymnasium environment as a batched task environment, in worker processes."""

from metarl_envs.gymnasium_envs.definition import PluginDefinition
from metarl_envs.gymnasium_envs.plugin_env import PluginEnv
from metarl_envs.gymnasium_envs.workers import WorkerError

__all__ = ["PluginDefinition", "PluginEnv", "WorkerError"]
