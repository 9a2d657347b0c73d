"""Check a task environment: what is wrong with it, one sentence each.

python scripts/check_env.py my_module:MyEnv-v0
python scripts/check_env.py --config my_config.yaml
"""

import argparse
import sys
from pathlib import Path

import metarl
from metarl.command_line import run
from metarl.environments.config import EnvConfig
from metarl.environments.make import check_env


def main() -> None:
    """Parse, check, print."""
    parser = argparse.ArgumentParser(description="Check a task environment.")
    parser.add_argument("id", nargs="?", help="Gymnasium id, [module:]Name-v0")
    parser.add_argument("--config", type=Path, help="take the env section of this config instead")
    arguments = parser.parse_args()
    if (arguments.id is None) == (arguments.config is None):
        parser.error("give either an id or --config")
    config = (
        EnvConfig(id=arguments.id) if arguments.id else metarl.load_config(arguments.config).env
    )
    findings = check_env(config)
    for finding in findings:
        print(f"- {finding}")
    print(f"{config.id}: {len(findings)} finding(s)" if findings else f"{config.id}: all good")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    run(main)
