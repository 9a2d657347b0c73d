"""The command `metarl tune`: see metarl/commands/tune.py."""

from metarl.commands import run_script

if __name__ == "__main__":
    run_script("tune")
