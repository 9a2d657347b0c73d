"""The command `metarl train`: see metarl/commands/train.py."""

from metarl.commands import run_script

if __name__ == "__main__":
    run_script("train")
