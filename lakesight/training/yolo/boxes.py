"""Boxes as tensors: how much two of them overlap, in forms that have a gradient.

Shapes: `...` are any leading axes that broadcast; boxes are `(..., 4)` xyxy, rotated ones
`(..., 5)` centre x, centre y, width, height, angle in radians. Units are free, but one.
"""

import math

import torch
from torch import Tensor

EPSILON = 1e-7


def iou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Return the intersection over union, `(...)` in 0..1."""
    shared = _shared_area(a_xyxy, b_xyxy)
    return shared / (_area(a_xyxy) + _area(b_xyxy) - shared + EPSILON)


def ciou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Return the complete IoU, `(...)` in about -1..1 (arXiv:1911.08287).

    IoU, less the squared distance of the centres over that of the enclosing box's corners, less
    how much the aspect ratios differ, the more so the better the boxes overlap.
    """
    plain = iou(a_xyxy, b_xyxy)
    hull_wh = torch.maximum(a_xyxy[..., 2:], b_xyxy[..., 2:]) - torch.minimum(
        a_xyxy[..., :2], b_xyxy[..., :2]
    )
    diagonal = hull_wh.square().sum(-1) + EPSILON
    between = (_centre(a_xyxy) - _centre(b_xyxy)).square().sum(-1)
    aspect = (4 / math.pi**2) * (_lean(b_xyxy) - _lean(a_xyxy)).square()
    with torch.no_grad():
        weight = aspect / (aspect - plain + 1 + EPSILON)
    return plain - between / diagonal - weight * aspect


def prob_iou(a_xywhr: Tensor, b_xywhr: Tensor) -> Tensor:
    """Return one minus the Hellinger distance of the boxes as Gaussians, `(...)` in 0..1.

    ProbIoU (arXiv:2106.06072): a box is the normal distribution with its centre and the covariance
    of the uniform distribution on it. Unlike polygon IoU it has a gradient where boxes are apart.
    """
    (a1, b1, c1), (a2, b2, c2) = _covariance(a_xywhr), _covariance(b_xywhr)
    a, b, c = a1 + a2, b1 + b2, c1 + c2
    dx, dy = (a_xywhr[..., :2] - b_xywhr[..., :2]).unbind(-1)
    det = a * b - c.square()
    mahalanobis = (a * dy.square() + b * dx.square() - 2 * c * dx * dy) / (det + EPSILON) / 4
    dets = ((a1 * b1 - c1.square()).clamp(min=0) * (a2 * b2 - c2.square()).clamp(min=0)).sqrt()
    spread = (det / (4 * dets + EPSILON) + EPSILON).log() / 2
    distance = (mahalanobis + spread).clamp(EPSILON, 100)
    return 1 - (1 - (-distance).exp() + EPSILON).sqrt()


def _covariance(xywhr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the variances in x and y and the covariance of boxes, `(...)` each."""
    width, height, angle = xywhr[..., 2], xywhr[..., 3], xywhr[..., 4]
    along, across = width.square() / 12, height.square() / 12
    cos, sin = angle.cos(), angle.sin()
    return (
        along * cos.square() + across * sin.square(),
        along * sin.square() + across * cos.square(),
        (along - across) * cos * sin,
    )


def _shared_area(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    low = torch.maximum(a_xyxy[..., :2], b_xyxy[..., :2])
    high = torch.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    return (high - low).clamp(min=0).prod(-1)


def _area(xyxy: Tensor) -> Tensor:
    return (xyxy[..., 2:] - xyxy[..., :2]).prod(-1)


def _centre(xyxy: Tensor) -> Tensor:
    return (xyxy[..., :2] + xyxy[..., 2:]) / 2


def _lean(xyxy: Tensor) -> Tensor:
    """Return the angle of the diagonal."""
    width, height = (xyxy[..., 2:] - xyxy[..., :2]).unbind(-1)
    return torch.atan(width / (height + EPSILON))
