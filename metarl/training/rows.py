"""`progress.csv`: one row per iteration, whole after a kill at any instant.

A row is appended; where a new column comes, the file is written anew under another name first.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from metarl.files import write_whole

Value = float | int | str
_ITERATION = "iteration"


class Rows:
    """The rows of one run.

    Args:
        path: of the file.
        start_iteration: rows of earlier iterations are kept; later ones belong to an interrupted
            run and are dropped.
    """

    def __init__(self, path: Path, start_iteration: int) -> None:
        self._path = path
        kept = _read(path) if start_iteration else []
        self._columns = list[str]()
        self._write([row for row in kept if int(row[_ITERATION]) < start_iteration])

    def add(self, row: Mapping[str, Value]) -> None:
        """Append a row; new columns come in the order of their names."""
        if row.keys() <= set(self._columns):
            with self._path.open("a", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(row)
            return
        self._write([*_read(self._path), {key: str(row[key]) for key in sorted(row)}])

    def _write(self, rows: Sequence[Mapping[str, str]]) -> None:
        for row in rows:
            self._columns += [key for key in row if key not in self._columns]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self._path, text.getvalue().encode())


def _read(path: Path) -> list[dict[str, str]]:
    """The whole rows: a kill may leave half a row, which lacks some of its columns."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    whole = [row for row in rows if None not in row and None not in row.values()]
    return [row for row in whole if row.get(_ITERATION, "").isdigit()]
