"""What every training is told, whatever is trained."""

from pydantic import Field

from lakesight.training.settings import LoopSettings

OWN = "LicenseRef-own"


class Job(LoopSettings):
    """A training: the data, what becomes of the weights, and how it goes."""

    data: str
    """What to train on."""
    task: str
    """What for: one of `lakesight.evaluation.tasks.TASKS` that has a training."""
    val: str | None = None
    """Others to validate on; the split `val` of the same unless given."""
    images: str | None = None
    """Folder of the pictures that a .json names; its own folder unless given."""
    val_images: str | None = None
    """The same for `val`."""
    weights: str | None = None
    """Model folder or catalog name to start from."""
    name: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """What the model is called; as its folder unless given."""
    half: bool = True
    """Write the weights as float16: half the size; a value differs by about 1e-3."""
    licence: str = OWN
    """SPDX id of the new weights; those to start from keep theirs."""
    data_licence: str = OWN
    """SPDX id of the pictures and of what is said of them."""
    allow_licence: tuple[str, ...] = ()
    """A licence of the weights to start from, as a refusal names it, that you have read and may
    use."""

    @property
    def validation(self) -> str:
        """Return what is validated on."""
        return self.val or self.data
