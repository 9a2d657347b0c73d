"""The command `metarl watch`: see metarl/commands/watch.py."""

from metarl.commands import run_script

if __name__ == "__main__":
    run_script("watch")
