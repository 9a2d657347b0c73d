"""Any Gymnasium environment as a batched task environment, in worker processes."""

from metarl_envs.plugin.definition import PluginDefinition
from metarl_envs.plugin.plugin_env import PluginEnv
from metarl_envs.plugin.workers import WorkerError

__all__ = ["PluginDefinition", "PluginEnv", "WorkerError"]
