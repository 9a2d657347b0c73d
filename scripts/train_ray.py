"""The command `metarl train_ray`: see metarl/commands/train_ray.py."""

from metarl.commands import run_script

if __name__ == "__main__":
    run_script("train_ray")
