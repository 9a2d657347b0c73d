"""The command `metarl record_demonstrations`: see metarl/commands/record_demonstrations.py."""

from metarl.commands import run_script

if __name__ == "__main__":
    run_script("record_demonstrations")
