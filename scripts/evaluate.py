"""The command `metarl evaluate`: see metarl/commands/evaluate.py."""

from metarl.commands import run_script

if __name__ == "__main__":
    run_script("evaluate")
