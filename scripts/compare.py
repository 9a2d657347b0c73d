"""The command `metarl compare`: see metarl/commands/compare.py."""

from metarl.commands import run_script

if __name__ == "__main__":
    run_script("compare")
