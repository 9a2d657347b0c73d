"""Check a task environment: what is wrong with it, one sentence each.

metarl check_env my_module:MyEnv-v0
metarl check_env --config my_config.yaml
"""

import argparse
import sys

import metarl
from metarl.environments.config import EnvConfig
from metarl.environments.make import check_env
from metarl.errors import ConfigError


def main(arguments: argparse.Namespace) -> None:
    """Parse, check, print."""
    if (arguments.id is None) == (arguments.config is None):
        raise ConfigError("give either an id or --config")
    config = (
        EnvConfig(id=arguments.id) if arguments.id else metarl.load_config(arguments.config).env
    )
    findings = check_env(config)
    for finding in findings:
        print(f"- {finding}")
    print(f"{config.id}: {len(findings)} finding(s)" if findings else f"{config.id}: all good")
    sys.exit(1 if findings else 0)
