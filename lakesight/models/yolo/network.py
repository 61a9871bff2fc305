"""The network: backbone, neck and head, its weights, and its form for inference.

Layers have the numbers of the public v8 checkpoints, so that their tensors load by name.
Shapes: B pictures, H and W in pixels, both multiples of 32.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from lakesight.errors import UserError
from lakesight.models.yolo.architecture import Architecture
from lakesight.models.yolo.blocks import SPPF, C2f, Conv
from lakesight.models.yolo.fuse import fuse
from lakesight.models.yolo.heads import Classify, Detect, Obb, Pose, Segment
from lakesight.models.yolo.outputs import STRIDES, Decoded, Logits, Raw

JOINS = {11: 6, 14: 4, 17: 12, 20: 9}
"""Layers that put an earlier layer's map beside the last one's."""
LEVELS = (15, 18, 21)
"""Layers that the dense heads read."""
KEPT = {*JOINS.values(), *LEVELS}


class Network(nn.Module):
    """A YOLO of one task. Input: `(B, 3, H, W)` floats in 0..1, RGB."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.model = nn.Sequential(*_layers(architecture))

    @property
    def head(self) -> Detect | Classify:
        """The last layer."""
        return cast("Detect | Classify", self.model[-1])

    def forward(self, pixels: Tensor) -> Raw | Logits:
        """Return what a loss reads, in training and in evaluation alike; see `decode`.

        Raises UserError for a size that the levels do not divide.
        """
        head = self.head
        if isinstance(head, Classify):
            for layer in self._body():
                pixels = layer(pixels)
            return cast("Logits", head(pixels))
        if not _is_exporting():
            check_size(*pixels.shape[2:])
        return cast("Raw", head(self._levels(pixels)))

    def _body(self) -> list[nn.Module]:
        """Return every layer but the head."""
        return list(self.model)[:-1]

    def _levels(self, x: Tensor) -> list[Tensor]:
        """Return the maps `(B, C, H / stride, W / stride)` of the three levels."""
        kept: dict[int, Tensor] = {}
        for number, layer in enumerate(self._body()):
            x = torch.cat([x, kept[JOINS[number]]], 1) if number in JOINS else layer(x)
            if number in KEPT:
                kept[number] = x
        return [kept[number] for number in LEVELS]

    def decode(self, raw: Raw | Logits) -> Decoded:
        """Return boxes and scores, of what `forward` gave."""
        head = self.head
        if isinstance(head, Classify):
            assert isinstance(raw, Logits)
            return head.decode(raw)
        assert isinstance(raw, Raw)
        return head.decode(raw)


class Inference(nn.Module):
    """The network as it is exported and run: pixels in, plain tensors out.

    Gives `Decoded.predictions`, and for segment the prototypes too.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors of `Decoded` for `(B, 3, H, W)` in 0..1."""
        decoded = self.network.decode(self.network(pixels))
        if decoded.prototypes is None:
            return (decoded.predictions,)
        return decoded.predictions, decoded.prototypes.float()


def load_network(architecture: Architecture, path: Path) -> Network:
    """Return the network with the weights of a safetensors file, in float32, ready to infer.

    Raises UserError where the file's tensors are not those of the architecture.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is no safetensors file that can be read: {error}") from error
    network = load_tensors(architecture, tensors, path.name)
    return network.eval()


def load_tensors(architecture: Architecture, tensors: Mapping[str, Tensor], source: str) -> Network:
    """Return the network with these weights, in float32; `source` names them in an error."""
    with torch.device("meta"):
        network = Network(architecture)
    check_shapes(network, {name: tuple(one.shape) for name, one in tensors.items()}, source)
    floats = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    network.load_state_dict(floats, assign=True)
    return network


def check_shapes(network: Network, found: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Raise UserError unless names and shapes are the network's, naming the first misfit."""
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for name in [*wanted, *found]:
        if wanted.get(name) != found.get(name):
            kind = network.architecture
            raise UserError(
                f"the weights in {source} are not those of a {kind.task} network of "
                f"{kind.num_classes} classes, width {kind.width:g}, depth {kind.depth:g} in the v8 "
                f"layout: expected {name} {wanted.get(name, 'nowhere')}, "
                f"got {found.get(name, 'none')}"
            )


def check_size(height: int, width: int) -> None:
    """Raise UserError unless both sides, in pixels, are multiples of 32."""
    if height % STRIDES[-1] or width % STRIDES[-1] or not height or not width:
        raise UserError(
            f"expected a height and width that 32 divides, got {width}x{height}: YOLO halves them "
            "five times. Choose the next multiple of 32."
        )


def _is_exporting() -> bool:
    """Return whether the sides are symbols of a graph, which a check would make constants of."""
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # not in stubs
    return bool(tracing or torch.compiler.is_exporting())


def for_inference(network: Network) -> Inference:
    """Return the network with BatchNorm folded away, in eval mode; changes `network` itself."""
    return Inference(fuse(network.eval())).eval()


def _layers(kind: Architecture) -> list[nn.Module]:
    """Return every layer, the head last."""
    c, n = kind.channels, kind.blocks
    backbone: list[nn.Module] = [
        Conv(3, c(64), 3, 2),
        Conv(c(64), c(128), 3, 2),
        C2f(c(128), c(128), n(3), shortcut=True),
        Conv(c(128), c(256), 3, 2),
        C2f(c(256), c(256), n(6), shortcut=True),  # 4: stride 8
        Conv(c(256), c(512), 3, 2),
        C2f(c(512), c(512), n(6), shortcut=True),  # 6: stride 16
        Conv(c(512), c(1024), 3, 2),
        C2f(c(1024), c(1024), n(3), shortcut=True),  # 8: stride 32
    ]
    if kind.task == "classify":
        return [*backbone, Classify(kind.num_classes, c(1024), kind.multi_label)]
    return [*backbone, SPPF(c(1024), c(1024)), *_neck(kind), _head(kind)]


def _neck(kind: Architecture) -> list[nn.Module]:
    """Return layers 10 to 21, path aggregation; where `JOINS` has a number, the layer is empty."""
    c, num_blocks = kind.channels, kind.blocks(3)
    return [
        nn.Upsample(scale_factor=2),
        nn.Identity(),
        C2f(c(1024) + c(512), c(512), num_blocks),  # 12
        nn.Upsample(scale_factor=2),
        nn.Identity(),
        C2f(c(512) + c(256), c(256), num_blocks),  # 15: stride 8
        Conv(c(256), c(256), 3, 2),
        nn.Identity(),
        C2f(c(256) + c(512), c(512), num_blocks),  # 18: stride 16
        Conv(c(512), c(512), 3, 2),
        nn.Identity(),
        C2f(c(512) + c(1024), c(1024), num_blocks),  # 21: stride 32
    ]


def _head(kind: Architecture) -> Detect:
    """Return layer 22."""
    channels = [kind.channels(count) for count in (256, 512, 1024)]
    match kind.task:
        case "segment":
            return Segment(kind.num_classes, channels, kind.channels(256))
        case "pose":
            return Pose(kind.num_classes, channels, kind.num_keypoints, kind.keypoint_dims)
        case "obb":
            return Obb(kind.num_classes, channels)
        case _:
            return Detect(kind.num_classes, channels)
