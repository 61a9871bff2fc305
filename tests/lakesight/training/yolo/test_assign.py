"""Task-aligned assignment, beside loops over every object and anchor."""

import numpy as np
import torch
from torch import Tensor

from lakesight.training.yolo.assign import (
    ALPHA,
    BETA,
    TOP_K,
    Objects,
    assign,
    inside_boxes,
    inside_rotated,
)
from lakesight.training.yolo.boxes import ciou


def grid(side: int, stride: int) -> Tensor:
    ticks = (torch.arange(side // stride) + 0.5) * stride
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], -1)


def case(seed: int) -> tuple[Tensor, Tensor, Tensor, Objects]:
    """Two pictures of 64 pixels, 64 anchors, 3 classes; 5 and 2 objects."""
    rng = np.random.default_rng(seed)
    anchors = grid(64, 8)
    near = rng.uniform(2, 20, (2, len(anchors), 2))
    far = rng.uniform(2, 20, (2, len(anchors), 2))
    boxes = torch.cat([anchors - torch.tensor(near), anchors + torch.tensor(far)], -1).float()
    low = rng.uniform(0, 40, (2, 5, 2))
    truth = torch.tensor(np.concatenate([low, low + rng.uniform(8, 24, (2, 5, 2))], -1)).float()
    valid = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    ids = torch.tensor(rng.integers(0, 3, (2, 5))) * valid
    scores = torch.tensor(rng.uniform(0, 1, (2, len(anchors), 3))).float()
    return scores, boxes, anchors, Objects(truth * valid[..., None], ids, valid)


def slow(
    scores: Tensor, boxes: Tensor, anchors: Tensor, objects: Objects
) -> list[tuple[dict[int, int], Tensor]]:
    """Return per picture the object of each anchor that has one, and the wanted scores."""
    found = []
    for b in range(len(scores)):
        wants: dict[int, dict[int, tuple[float, float]]] = {}
        for m in range(int(objects.valid[b].sum())):
            left, top, right, bottom = objects.boxes[b, m].tolist()
            class_id = int(objects.class_ids[b, m])
            alignments = []
            for a, (x, y) in enumerate(anchors.tolist()):
                if left < x < right and top < y < bottom:
                    overlap = max(0.0, float(ciou(objects.boxes[b, m], boxes[b, a])))
                    alignment = float(scores[b, a, class_id]) ** ALPHA * overlap**BETA
                    if alignment > 0:
                        alignments.append((alignment, overlap, a))
            for alignment, overlap, a in sorted(alignments, reverse=True)[:TOP_K]:
                wants.setdefault(a, {})[m] = (alignment, overlap)
        chosen = {a: max(who, key=lambda m: who[m][1]) for a, who in wants.items()}
        wanted = torch.zeros(len(anchors), scores.shape[-1])
        for m in set(chosen.values()):
            mine = {a: wants[a][m] for a in chosen if chosen[a] == m}
            best_alignment = max(alignment for alignment, _ in mine.values())
            best_overlap = max(overlap for _, overlap in mine.values())
            for a, (alignment, _) in mine.items():
                value = alignment / (best_alignment + 1e-9) * best_overlap
                wanted[a, int(objects.class_ids[b, m])] = value
        found.append((chosen, wanted))
    return found


def test_every_anchor_gets_what_the_loops_give_it() -> None:
    for seed in range(5):
        scores, boxes, anchors, objects = case(seed)
        got = assign(scores, boxes, anchors, objects, ciou, inside_boxes)
        for b, (chosen, wanted) in enumerate(slow(scores, boxes, anchors, objects)):
            assert set(got.is_object[b].nonzero().flatten().tolist()) == chosen.keys()
            assert all(int(got.objects[b, a]) == m for a, m in chosen.items())
            torch.testing.assert_close(got.scores[b], wanted, atol=1e-5, rtol=1e-4)


def test_a_picture_without_objects_wants_nothing() -> None:
    scores, boxes, anchors, objects = case(0)
    nothing = objects._replace(valid=torch.zeros_like(objects.valid))
    got = assign(scores, boxes, anchors, nothing, ciou, inside_boxes)
    assert not got.is_object.any()
    assert not got.scores.any()


def test_a_turned_box_holds_other_points() -> None:
    """A plank of 20 x 4 along the diagonal."""
    plank = torch.tensor([[[10.0, 10.0, 20.0, 4.0, np.pi / 4]]])
    points = torch.tensor([[16.0, 16.0], [4.0, 4.0], [16.0, 4.0], [10.0, 12.5], [10.0, 13.0]])
    assert inside_rotated(points, plank)[0, 0].tolist() == [True, True, False, True, False]
