"""The command `metarl check_env`: see metarl/commands/check_env.py."""

from metarl.commands import run_script

if __name__ == "__main__":
    run_script("check_env")
