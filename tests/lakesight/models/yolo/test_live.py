"""A network that is looked through while it learns."""

import numpy as np
import pytest
import torch

from lakesight.models.yolo.folder import view_of
from lakesight.models.yolo.live import Live
from lakesight.models.yolo.network import Network
from lakesight.models.yolo.reading import YoloOptions

from .test_model import LABELS, SIDE, rows, views
from .test_network import small


def modes(network: Network) -> list[bool]:
    return [one.training for one in network.modules()]


@pytest.mark.parametrize("is_training", [False, True])
def test_a_look_changes_nothing_of_the_network(is_training: bool) -> None:
    """Neither the modes of its layers, of which some may be frozen, nor their statistics."""
    network = small("detect").train(is_training)
    network.model[0].eval()
    before = modes(network), {name: one.clone() for name, one in network.state_dict().items()}
    view = view_of(network.architecture, SIDE)
    seen = Live(network, LABELS, view, YoloOptions()).predict(views(2), rows(2))
    assert len(seen) == 2
    assert modes(network) == before[0]
    assert all(torch.equal(one, before[1][name]) for name, one in network.state_dict().items())


def test_what_learns_is_seen_as_it_will_be() -> None:
    """With the running statistics, not those of the pictures that are looked at."""
    network = small("detect")
    options = YoloOptions(score_threshold=0)
    live = Live(network, LABELS, view_of(network.architecture, SIDE), options)
    wanted = live.predict(views(2), rows(2)).flatten().field("score").to_numpy()
    network.train()
    found = live.predict(views(2), rows(2)).flatten().field("score").to_numpy()
    assert len(wanted)
    np.testing.assert_array_equal(found, wanted)
