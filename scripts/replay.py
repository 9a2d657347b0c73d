"""The command `metarl replay`: see metarl/commands/replay.py."""

from metarl.commands import run_script

if __name__ == "__main__":
    run_script("replay")
