"""Videos: who is who from frame to frame, and how they move."""

import math

import numpy as np
import pytest

from lakesight.scenes import Frame, frames
from lakesight.scenes.motion import Bounce, Pass, Turn

VIDEOS = [list(frames(2, index, 128, 24)) for index in range(8)]


def test_a_video_comes_again_and_others_differ() -> None:
    again = list(frames(2, 0, 128, 24))
    for first, second in zip(VIDEOS[0], again, strict=True):
        assert np.array_equal(first.pixels, second.pixels)
        assert np.array_equal(first.instances, second.instances)
    assert not np.array_equal(VIDEOS[0][0].instances, VIDEOS[1][0].instances)


@pytest.mark.parametrize("video", VIDEOS)
def test_identities_are_continuous(video: list[Frame]) -> None:
    looks: dict[int, tuple[str, str, str]] = {}
    places: dict[int, tuple[int, float, float]] = {}
    assert [frame.frame_index for frame in video] == list(range(24))
    assert [frame.timestamp_s for frame in video] == [index / 10 for index in range(24)]
    for frame in video:
        ids = [found.instance_id for found in frame.objects]
        assert len(set(ids)) == len(ids)
        for found in frame.objects:
            look = found.label, found.colour, found.texture
            assert looks.setdefault(found.instance_id, look) == look
            x, y = found.rotated_box[:2]  # of the whole shape: hiding a part does not move it
            before, old_x, old_y = places.get(found.instance_id, (frame.frame_index, x, y))
            step = math.dist((x, y), (old_x, old_y))
            assert step <= 0.15 * 128 * (frame.frame_index - before)
            places[found.instance_id] = frame.frame_index, x, y
    assert len(looks) >= 3
    assert len({colour for _, colour, _ in looks.values()}) == len(looks)


def test_shapes_move_hide_each_other_enter_and_leave() -> None:
    moved = hidden = came_or_went = 0
    for video in VIDEOS:
        ids = [{found.instance_id for found in frame.objects} for frame in video]
        came_or_went += len(set.union(*ids)) > min(len(each) for each in ids)
        lowest = [found for frame in video for found in frame.objects if found.instance_id == 1]
        hidden += any(found.visible_fraction < 0.9 for found in lowest)
        first, last = lowest[0].rotated_box, lowest[-1].rotated_box
        moved += math.dist(first[:2], last[:2]) > 0.2 * 128
    assert moved == len(VIDEOS)
    assert hidden >= 6
    assert came_or_went >= 4


def test_what_moves_in_no_frame_is_known_by_hand() -> None:
    ball = Bounce((10.0, 50.0), (3.0, -10.0), (0.0, 20.0), (40.0, 80.0))
    assert [ball.at(frame) for frame in (0, 3, 6, 10, 12)] == [
        (10.0, 50.0),
        (19.0, 20.0),
        (28.0, 50.0),
        (40.0, 70.0),
        (34.0, 50.0),
    ]
    turn = Turn((50.0, 40.0), (20.0, 10.0), 0.0, math.pi / 2)
    assert turn.at(1) == pytest.approx((50.0, 50.0))
    assert turn.at(2) == pytest.approx((30.0, 40.0))
    assert Pass((5.0, 6.0), 10.0, (2.0, -1.0)).at(8) == (1.0, 8.0)
