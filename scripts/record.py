"""The command `metarl record`: see metarl/commands/record.py."""

from metarl.commands import run_script

if __name__ == "__main__":
    run_script("record")
