"""The command `metarl scratch`: see metarl/commands/scratch.py."""

from metarl.commands import run_script

if __name__ == "__main__":
    run_script("scratch")
