"""What a server does, told to whoever counts or traces it."""

from lakesight.models.base import ModelSpec
from lakesight.online.batching import Left


class Follower:
    """Is told what happens; this one cares for nothing. Methods are called from any thread."""

    def on_batch(self, spec: ModelSpec, left: Left, num_errors: int) -> None:
        """Take note of a batch of pictures that a model looked at."""

    def on_texts(self, spec: ModelSpec, num: int, seconds: float) -> None:
        """Take note of the texts of a request that a model read, and how long that took."""

    def on_loaded(self, spec: ModelSpec, seconds: float) -> None:
        """Take note of a network that was loaded for a model."""

    def on_dropped(self, spec: ModelSpec) -> None:
        """Take note of a network that made room."""

    def on_decoded(self, seconds: float, error: str | None) -> None:
        """Take note of a picture: how long it took to decode, and the type of its error."""

    def on_search(self, index: str, seconds: float) -> None:
        """Take note of a search of an index."""


class Followers(Follower):
    """Tells several."""

    def __init__(self, *followers: Follower) -> None:
        self._followers = followers

    def on_batch(self, spec: ModelSpec, left: Left, num_errors: int) -> None:
        """Tell of a batch."""
        for one in self._followers:
            one.on_batch(spec, left, num_errors)

    def on_texts(self, spec: ModelSpec, num: int, seconds: float) -> None:
        """Tell of texts."""
        for one in self._followers:
            one.on_texts(spec, num, seconds)

    def on_loaded(self, spec: ModelSpec, seconds: float) -> None:
        """Tell of a network that was loaded."""
        for one in self._followers:
            one.on_loaded(spec, seconds)

    def on_dropped(self, spec: ModelSpec) -> None:
        """Tell of a network that made room."""
        for one in self._followers:
            one.on_dropped(spec)

    def on_decoded(self, seconds: float, error: str | None) -> None:
        """Tell of a picture."""
        for one in self._followers:
            one.on_decoded(seconds, error)

    def on_search(self, index: str, seconds: float) -> None:
        """Tell of a search."""
        for one in self._followers:
            one.on_search(index, seconds)
