"""Write the results page from the records of runs and the published figures beside them.

python scripts/results.py                # results/ENV/METHOD-seedN.json.gz -> docs/results.md

No figure of the page is typed: `compare.py --results results/ENV` makes the records, and
results/published.yaml says what others report, with its source.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from metarl.command_line import run
from metarl.errors import ConfigError
from metarl.evaluation.statistics import estimate
from metarl.experiment.run_figures import common_splits, figure, mean_cost, seeds_scores
from metarl.experiment.run_record import RunRecord

_ROOT = Path(__file__).parents[1]
_PEER_STEPS_PER_S = 12_200  # the fastest PyTorch peer, HalfCheetah on two cores
Runs = dict[str, list[RunRecord]]  # by method, in the order of seeds


def millions(steps: float) -> str:
    """Environment steps, in millions; few of them with two digits."""
    return f"{steps / 1e6:.1f} M" if steps >= 1e5 or not steps else f"{steps / 1e6:.2g} M"


def main() -> None:
    """Parse, read, write."""
    parser = argparse.ArgumentParser(description="Write the results page.")
    parser.add_argument("--results", type=Path, default=_ROOT / "results")
    parser.add_argument("--page", type=Path, default=_ROOT / "docs/results.md")
    arguments = parser.parse_args()
    if not arguments.results.is_dir():
        raise ConfigError(f"no folder of records at {arguments.results}")
    published = _published(arguments.results / "published.yaml")
    pictures = arguments.page.with_suffix("")
    every = {folder: _read(folder) for folder in sorted(arguments.results.iterdir())}
    pictures.mkdir(parents=True, exist_ok=True)
    sections = [_INTRODUCTION]
    for folder, runs in every.items():
        if not runs:
            continue
        name, splits = folder.name, common_splits(r for records in runs.values() for r in records)
        _draw(runs, name, splits[0], pictures / f"{name}.png")
        sections.append(_section(name, runs, splits, published.get(name, {}), pictures.name))
    arguments.page.write_text("\n\n".join(sections) + "\n")


_INTRODUCTION = f"""# Results

Written by `python scripts/results.py` from the records in `results/`; every record comes from
`python scripts/compare.py configs/ENV/METHOD.yaml --seeds ... --run-dir runs/ENV --results
results/ENV`.

Interquartile means of the return over seeds, tasks and episodes, with 95 % intervals over new seeds
and new tasks ([how](statistics.md)), and the mean, which is what others publish: after 0 to K
adaptation steps, or in episode 1, 2, ... of a trial for learners with memory. One seed: the
interval is over tasks alone. `test` tasks are fresh draws of the training distribution that
training never saw (where an environment has two tasks or a list of the literature: those), `gap`
lies in wide blocks left out of it, `extrapolation` outside its range. Environment steps are those
taken in training, minutes its time on two cores, both with those of trainings that it went on from;
beside the minutes stands what the same steps take at {_PEER_STEPS_PER_S:,} steps/s, the fastest
PyTorch peer measured on two cores (HalfCheetah). Published figures are quoted with their
protocol; they are means over seeds."""


def _published(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        document = OmegaConf.to_container(OmegaConf.load(path))
    except (OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"cannot read {path}: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path} must hold an entry per environment")
    return {str(name): entry for name, entry in document.items()}


def _read(folder: Path) -> Runs:
    runs: Runs = defaultdict(list)
    for path in sorted(folder.glob("*.json.gz"), key=_method_and_seed):
        runs[_method_and_seed(path)[0]].append(RunRecord.read(path))
    return runs


def _method_and_seed(path: Path) -> tuple[str, int]:
    method, _, seed = path.name.removesuffix(".json.gz").rpartition("-seed")
    if not seed.isdigit():
        raise ConfigError(f"{path} must be named METHOD-seedN.json.gz")
    return method, int(seed)


def _section(
    name: str, runs: Runs, splits: Sequence[str], published: Mapping[str, Any], pictures: str
) -> str:
    config = next(iter(runs.values()))[0].config
    lines = [f"## {config['env']['id']}, `configs/{name}`", ""]
    lines += [f"{published['protocol'].strip()}", ""] if "protocol" in published else []
    most = max(len(record.scores(splits[0])) for records in runs.values() for record in records)
    steps = " | ".join(str(step) for step in range(most))
    lines += [
        f"| method | split | seeds | env steps | min (peer) | {steps} |",
        "|---" * (5 + most) + "|",
    ]
    for method, records in runs.items():
        for split in splits:
            lines.append(_row(method, split, records, most))
    lines.append("")
    lines += _success_table(runs, splits)
    if published.get("figures"):
        lines += ["Published: " + "; ".join(published["figures"]) + ".", ""]
    return "\n".join([*lines, f"![{name}]({pictures}/{name}.png)"])


def _row(method: str, split: str, records: Sequence[RunRecord], columns: int) -> str:
    scores_SKME = seeds_scores(method, records, split)
    cells = [""] * columns
    for step in range(scores_SKME.shape[1]):
        cells[step] = figure(scores_SKME[:, step], digits=4)
        if not cells[step].startswith("none"):
            cells[step] += f"; mean {np.nanmean(scores_SKME[:, step]):.4g}"
    if split == next(iter(records[0].evaluations)):
        seeds = ", ".join(str(record.config["seed"]) for record in records)
        steps, minutes = mean_cost(records)
        peer = steps / _PEER_STEPS_PER_S / 60
        spent = "not known" if minutes is None else f"{minutes:.0f}"
        cost = [method, split, seeds, millions(steps), f"{spent} ({peer:.0f})"]
    else:
        cost = ["", split, "", "", ""]
    return "| " + " | ".join([*cost, *cells]) + " |"


def _success(records: Sequence[RunRecord], split: str) -> np.ndarray | None:
    """Share of successful episodes of every seed: shape (S, K+1)."""
    reported = [record.evaluations[split]["success"] for record in records]
    if any(success is None for success in reported):
        return None
    return np.array(reported, float).mean(axis=(2, 3))


def _success_table(runs: Runs, splits: Sequence[str]) -> list[str]:
    rows = []
    for method, records in runs.items():
        for split in splits:
            rates_SK = _success(records, split)
            if rates_SK is not None:
                seeds = "; ".join(", ".join(f"{100 * r:.0f}" for r in rates) for rates in rates_SK)
                rows.append(f"| {method} | {split} | {seeds} |")
    heading = ["Success, % of episodes, by seed:", "", "| method | split | after each step |"]
    return [*heading, "|---|---|---|", *rows, ""] if rows else []


def _draw(runs: Runs, name: str, split: str, path: Path) -> None:
    """Adaptation curves on a split, and performance profiles after the last step."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(9.0, 3.4), layout="constrained")
    curves, profiles = canvas.subplots(1, 2)
    for index, (method, records) in enumerate(runs.items()):
        scores_SKME = seeds_scores(method, records, split)
        estimates = [estimate(scores_SKME[:, step]) for step in range(scores_SKME.shape[1])]
        steps, color = np.arange(len(estimates)), f"C{index % 10}"
        low, high = zip(*(e.interval for e in estimates), strict=True)
        curves.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
        curves.plot(steps, [e.value for e in estimates], marker="o", color=color, label=method)
        last_T = scores_SKME[:, -1].reshape(-1, scores_SKME.shape[-1])
        scored_T = last_T[~np.isnan(last_T).all(axis=1)]
        means = np.sort(np.nanmean(scored_T, axis=1))
        shares = 1.0 - np.arange(len(means)) / len(means)
        profiles.step(means, shares, where="post", color=color)
    curves.set_xlabel("adaptation steps, or episode of the trial - 1")
    curves.set_ylabel("return, IQM and 95 % interval")
    profiles.set_xlabel("return after the last step")
    profiles.set_ylabel("share of seeds and tasks above")
    curves.xaxis.get_major_locator().set_params(integer=True)
    curves.legend(frameon=False, fontsize=8)
    canvas.suptitle(f"{name}, {split} tasks", fontsize=10)
    for axes in (curves, profiles):
        axes.spines[["top", "right"]].set_visible(False)
    # no creation date, so that equal records give equal bytes
    canvas.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    run(main)
