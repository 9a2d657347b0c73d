"""The command `metarl report`: see metarl/commands/report.py."""

from metarl.commands import run_script

if __name__ == "__main__":
    run_script("report")
