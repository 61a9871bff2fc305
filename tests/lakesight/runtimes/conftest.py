"""What opening a network leaves behind, put back."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def the_same_threads_after() -> Iterator[None]:
    """Put torch's number of threads back: `RuntimeOptions` sets it for the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
