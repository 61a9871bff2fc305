"""What was done, by stage and by piece: it travels with the rows, and arrives with their commit."""

from pydantic import BaseModel, Field


class Tally(BaseModel):
    """The work of one stage."""

    rows: int = 0
    errors: int = 0
    seconds: float = 0.0
    """Summed over the calls: two at once count twice."""
    bytes: int = 0
    runs_on: set[str] = Field(default_factory=set)
    """Where a model ran, such as `openvino on cpu`; the machines of a cluster may differ."""

    def add(self, other: "Tally") -> None:
        """Count another's work too."""
        self.rows += other.rows
        self.errors += other.errors
        self.seconds += other.seconds
        self.bytes += other.bytes
        self.runs_on |= other.runs_on


class Tallies(BaseModel):
    """The work of several stages, by name, in the order in which pictures pass them."""

    stages: dict[str, Tally] = Field(default_factory=dict)

    def add(self, stage: str, tally: Tally) -> None:
        """Count work of one stage."""
        self.stages.setdefault(stage, Tally()).add(tally)

    def add_all(self, others: "Tallies") -> None:
        """Count the work of all stages of another."""
        for stage, tally in others.stages.items():
            self.add(stage, tally)


class PieceReport(BaseModel):
    """What became of one piece."""

    piece: str
    num_rows: int
    errors: dict[str, int]
    """Rows with an error, by stage."""
    ours: bool
    """False: the rows that stand are another run's; ours, if there were any, were dropped."""
    tallies: Tallies
