"""The metrics of a run: a line of JSON for each epoch, and TensorBoard events."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tensorboardX import SummaryWriter

from laperm_jax.lab.runs.run_folder import EVENTS, METRICS, Record, write


class Journal:
    """Writes the metrics of a run to its folder.

    Attributes:
      records: the metrics so far, one record for each epoch.

    Args:
      path: the folder.
    """

    def __init__(self, path: Path):
        self.records: list[Record] = []
        self._path = path
        self._events: SummaryWriter | None = None

    def begin(self, records: Sequence[Record], step: int) -> None:
        """Opens the files with these records, and drops what they hold of updates after ``step``."""
        self.records = list(records)
        write(self._path / METRICS, "".join(json.dumps(record) + "\n" for record in records).encode())
        self._events = SummaryWriter(str(self._path / EVENTS), purge_step=step + 1)

    def add(self, record: Record) -> None:
        """Adds the metrics of an epoch."""
        assert self._events, "begin() opens the files"
        self.records.append(record)
        with (self._path / METRICS).open("a") as metrics:
            metrics.write(json.dumps(record) + "\n")
        for name, value in _scalars(record):
            self._events.add_scalar(name, value, record["step"])
        self._events.flush()

    def close(self) -> None:
        """Closes the files."""
        if self._events:
            self._events.close()


def _scalars(record: Record) -> Iterator[tuple[str, float]]:
    for name, value in record.items():
        if name != "first_sync":
            yield name, value
    for path, metrics in (record["first_sync"] or {}).items():
        for name, value in metrics.items():
            yield f"{name}/{path}", value
