"""Write docs/config_reference.md: every key of a config, from the models themselves.

python scripts/config_reference.py
"""

from collections.abc import Iterable
from pathlib import Path

from metarl.experiment.config import ExperimentConfig
from metarl.experiment.config_reference import Key, keys_of
from metarl.learners import LEARNERS

PAGE = Path(__file__).parents[1] / "docs/config_reference.md"
_OPEN = ("learner", "policy")  # sections that the learner fills


def page() -> str:
    """The page."""
    parts = [
        "# Every key of a config\n\nWritten by `scripts/config_reference.py` from the models; "
        "`metarl learners NAME` prints a learner's part. A key that the chosen learner does not "
        "use is refused. On the command line, `key.sub=value` sets a key and `~key.sub` takes it "
        "away.\n",
        "## The run\n",
        _table(key for key in keys_of(ExperimentConfig) if key.name not in _OPEN),
    ]
    for name, learner in LEARNERS.items():
        about = (learner.__doc__ or "").strip().splitlines()[0]
        rows = [*keys_of(learner.Config, "learner."), *keys_of(learner.PolicyConfig, "policy.")]
        parts += [f"## `{name}`\n\n{about}\n", _table(rows)]
    return "\n".join(parts)


def _table(keys: Iterable[Key]) -> str:
    lines = ["| key | allowed | default | meaning |", "|---|---|---|---|"]
    for key in keys:
        default = f"`{key.default}`" if key.default else ""
        lines.append(f"| `{key.name}` | {key.allowed} | {default} | {key.meaning} |")
    return "\n".join(line.replace("<", "&lt;") for line in lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
