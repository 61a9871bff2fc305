"""What every stage has done so far, in one place that the driver can ask."""

from typing import Any

import ray
from pydantic import BaseModel

LedgerHandle = Any
"""Ray's handle on a `Ledger`: its methods have `.remote(…)`, which Ray's types do not know."""


class Tally(BaseModel):
    """The work of one stage, over all its actors."""

    rows: int = 0
    errors: int = 0
    seconds: float = 0.0
    bytes: int = 0

    def add(self, rows: int, errors: int, seconds: float, num_bytes: int) -> None:
        """Count one more piece of work."""
        self.rows += rows
        self.errors += errors
        self.seconds += seconds
        self.bytes += num_bytes


class Ledger:
    """Counts for progress and the summary; work that Ray repeats after a kill is counted again."""

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}

    def add(self, stage: str, rows: int, errors: int, seconds: float, num_bytes: int = 0) -> None:
        """Count one piece of work of a stage."""
        self.tallies.setdefault(stage, Tally()).add(rows, errors, seconds, num_bytes)

    def read(self) -> dict[str, Any]:
        """Return all counts, by stage."""
        return {stage: tally.model_dump() for stage, tally in self.tallies.items()}


def start_ledger() -> LedgerHandle:
    """Start the actor of one run. It needs no CPU of its own."""
    return ray.remote(num_cpus=0, max_restarts=-1)(Ledger).remote()
