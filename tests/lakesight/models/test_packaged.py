"""The packaged weights on real photos: what is in them is known to anyone who looks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import skimage
import sklearn

import lakesight
from lakesight.errors import UserError
from lakesight.models import catalog
from lakesight.models.artefact import stage
from lakesight.models.base import Model
from lakesight.models.classifier import Classifier
from lakesight.models.image_embedder import ImageEmbedder
from lakesight.models.look import look
from lakesight.models.packaged import PACKAGED
from lakesight.models.pose import SinglePersonPose
from lakesight.models.tf_detection import TfDetection
from lakesight.runtimes.openvino import core
from lakesight.runtimes.shared import Shared
from lakesight.schemas import CLASSES, detection_type, embedding_type

SKIMAGE = Path(skimage.__file__).parent / "data"
SKLEARN = Path(sklearn.__file__).parent / "datasets" / "images"
ASTRONAUT, CAT = SKIMAGE / "astronaut.png", SKIMAGE / "chelsea.png"
COFFEE, MOTORCYCLE = SKIMAGE / "coffee.png", SKIMAGE / "motorcycle_left.png"
ROCKET, FLOWER = SKIMAGE / "rocket.jpg", SKLEARN / "flower.jpg"


@pytest.fixture(scope="module")
def ssd() -> Model:
    return lakesight.load("ssd-mobilenet-v2-coco", num_threads=2).model


@pytest.fixture(scope="module")
def pose() -> Model:
    return lakesight.load("movenet-lightning", num_threads=2).model


@pytest.fixture(scope="module")
def pair() -> list[Model]:
    """The classifier, and the embedder of the same network."""
    kinds: tuple[Any, ...] = ("classify", "embed")
    specs = [catalog.spec("efficientnet-lite3", kind) for kind in kinds]
    return catalog.build_all(specs, num_threads=2)


def labels(found: pa.Array) -> list[list[str]]:
    return [[one["label"] for one in objects] for objects in found.to_pylist()]


@pytest.mark.parametrize("card", PACKAGED, ids=lambda card: card.name)
def test_a_card_says_where_the_weights_come_from(card: Any) -> None:
    assert "states no licence; the model's upstream is Apache-2.0" in card.provenance
    assert card.licences.weights == "Apache-2.0"


def test_the_detector_sees_what_is_there(ssd: Model) -> None:
    assert isinstance(ssd, TfDetection)
    found = look(ssd, [ASTRONAUT, CAT, COFFEE, MOTORCYCLE])
    assert found.type == ssd.output.type == detection_type()
    best = [objects[0] for objects in labels(found)]
    assert best == ["person", "cat", "cup", "motorcycle"]
    person = found[0].as_py()[0]
    assert person["class_id"] == 1
    assert person["score"] > 0.7
    assert 0 <= person["box"][0] < 60
    assert 320 < person["box"][2] < 420


def test_the_cut_graph_gives_what_the_whole_graph_gives(ssd: Model) -> None:
    """The graph's own suppression is the reference; it never tells what scores less than 0.3."""
    folder = stage(ssd.card)
    whole = core().read_model(folder / "frozen_inference_graph.pb")
    compiled = core().compile_model(whole, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    rng = np.random.default_rng(0)
    views = [seen_by(ssd, photo) for photo in (ASTRONAUT, CAT, COFFEE, MOTORCYCLE, FLOWER)]
    views.append(rng.integers(0, 256, (300, 300, 3), dtype=np.uint8))
    rows = pa.table({"width": [300] * len(views), "height": [300] * len(views)})
    ours = lakesight.load(ssd.card.name, score_threshold=0.3).model.predict(views, rows).to_pylist()
    assert sum(map(len, ours)) > 6
    for view, objects in zip(views, ours, strict=True):
        result = compiled(view[None])
        boxes, classes, scores = (
            result[f"detection_{name}:0"][0] for name in ("boxes", "classes", "scores")
        )
        seen = scores >= 0.3
        assert [one["class_id"] for one in objects] == classes[seen].astype(int).tolist()
        np.testing.assert_allclose([one["score"] for one in objects], scores[seen], atol=1e-4)
        corners = boxes[seen][:, [1, 0, 3, 2]] * 300
        np.testing.assert_allclose(boxes_of(objects), corners, atol=0.05)


def boxes_of(objects: Sequence[dict[str, Any]]) -> npt.NDArray[np.float64]:
    return np.array([one["box"] for one in objects]).reshape(-1, 4)


def seen_by(model: Model, photo: Path) -> npt.NDArray[np.uint8]:
    """Return the photo as the model's view."""
    from lakesight.media.decode import decode
    from lakesight.media.limits import Limits

    return decode(photo.read_bytes(), [model.view], Limits()).views[0]


def test_what_the_cache_keeps_gives_the_same(
    ssd: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = look(lakesight.load(ssd.card.name).model, [CAT])
    kept = list((tmp_path / "lakesight" / "openvino").glob("*.blob"))
    assert len(kept) == 1
    second = look(lakesight.load(ssd.card.name).model, [CAT])
    assert first.equals(second)
    assert first.equals(look(ssd, [CAT]))


def test_the_classifier_knows_the_photos(pair: list[Model]) -> None:
    classifier = pair[0]
    assert isinstance(classifier, Classifier)
    found = look(classifier, [CAT, COFFEE, ROCKET, FLOWER])
    assert found.type == classifier.output.type == CLASSES
    assert [len(one) for one in found] == [5] * 4
    cat, coffee, rocket, flower = labels(found)
    assert "cat" in cat[0]
    assert coffee[0] == "espresso"
    assert rocket[0] in {"missile", "projectile, missile", "space shuttle"}
    assert flower[0] != cat[0]
    scores = [one["score"] for one in found[0].as_py()]
    assert scores == sorted(scores, reverse=True)
    assert 0 < sum(scores) <= 1.001


def test_top_k_is_the_head_of_the_same_list(pair: list[Model]) -> None:
    one = lakesight.load("efficientnet-lite3", top_k=1).model
    assert look(one, [CAT])[0].as_py() == look(pair[0], [CAT])[0].as_py()[:1]
    everything = lakesight.load("efficientnet-lite3", top_k=5000).model
    assert len(look(everything, [CAT])[0]) == 1000


def test_the_embedding_finds_the_same_thing_again(pair: list[Model]) -> None:
    """A crop of each photo is nearest to its own photo."""
    embedder = pair[1]
    assert isinstance(embedder, ImageEmbedder)
    photos = [ASTRONAUT, CAT, COFFEE, ROCKET, FLOWER]
    found = look(embedder, photos)
    assert found.type == embedder.output.type == embedding_type(1280)
    vectors = np.stack(found.to_numpy(zero_copy_only=False)).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)
    crops = [seen_by(embedder, photo)[20:230, 30:250] for photo in photos]
    parts = np.stack(look(embedder, crops).to_numpy(zero_copy_only=False)).astype(np.float32)
    assert (parts @ vectors.T).argmax(axis=1).tolist() == list(range(len(photos)))


def test_a_picture_that_is_classified_and_embedded_runs_once(pair: list[Model]) -> None:
    classifier, embedder = pair
    assert isinstance(classifier, Classifier)
    assert isinstance(embedder, ImageEmbedder)
    shared = classifier.network
    assert isinstance(shared, Shared)
    assert embedder.network is shared
    views = [seen_by(classifier, CAT), seen_by(classifier, COFFEE)]
    rows = pa.table({"width": [280, 280], "height": [280, 280]})
    before = shared.num_runs
    classifier.predict(views, rows)
    together = embedder.predict(views, rows)
    assert shared.num_runs == before + 1
    alone = lakesight.load("efficientnet-lite3", kind="embed").model.predict(views, rows)
    assert together.equals(alone)


def test_other_options_of_a_network_do_not_share_it() -> None:
    options: tuple[dict[str, str], ...] = ({}, {"precision": "bf16"})
    specs = [catalog.spec("efficientnet-lite3", "embed", one) for one in options]
    first, second = catalog.build_all(specs)
    assert isinstance(first, ImageEmbedder)
    assert isinstance(second, ImageEmbedder)
    assert first.network is not second.network


def test_pose_finds_the_face_and_the_shoulders(ssd: Model, pose: Model) -> None:
    """The astronaut faces the camera: her left is on the picture's right."""
    detections = look(ssd, [COFFEE, ASTRONAUT])
    found = look(pose, [COFFEE, ASTRONAUT], detections=detections)
    assert found.type == pose.output.type == detection_type(keypoints=True)
    found.validate(full=True)
    coffee, astronaut = found.to_pylist()
    assert all(one["keypoints"] is None for one in coffee)
    assert [one["box"] for one in coffee] == [one["box"] for one in detections[0].as_py()]
    person = next(one for one in astronaut if one["label"] == "person")
    points = dict(zip(pose.card.labels or (), person["keypoints"], strict=True))
    assert len(points) == 17
    nose, left_eye, right_eye = points["nose"], points["left eye"], points["right eye"]
    assert 200 < nose[0] < 245
    assert 95 < nose[1] < 140
    assert right_eye[0] < nose[0] < left_eye[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < points["left shoulder"][1]
    assert points["right shoulder"][0] < 160 < 280 < points["left shoulder"][0]


@pytest.mark.parametrize("scale", [1, 3])
def test_keypoints_are_in_the_originals_pixels(scale: int, ssd: Model, pose: Model) -> None:
    """The same picture three times as large has its keypoints three times as far."""
    pixels = np.asarray(seen_by(ssd, ASTRONAUT))
    image = np.kron(pixels, np.ones((scale, scale, 1), np.uint8))
    box = [10.0 * scale, 5.0 * scale, 220.0 * scale, 299.0 * scale]
    found = look(pose, [image], detections=persons([[box]]))[0].as_py()[0]["keypoints"]
    small = look(pose, [pixels], detections=persons([[[10.0, 5.0, 220.0, 299.0]]]))
    reference = np.array(small[0].as_py()[0]["keypoints"])
    seen = reference[:, 2] > 0.3
    assert seen.sum() >= 7
    np.testing.assert_allclose(
        np.array(found)[seen, :2] / scale, reference[seen, :2], atol=5 if scale > 1 else 0
    )


def persons(boxes: list[list[list[float]] | None]) -> pa.Array:
    """Return a detections column of persons with these boxes; None for a null."""
    rows = [
        None
        if one is None
        else [{"box": box, "score": 1.0, "class_id": 1, "label": "person"} for box in one]
        for one in boxes
    ]
    return pa.array(rows, detection_type())


def test_pose_passes_on_what_has_no_person(pose: Model) -> None:
    image = np.zeros((50, 40, 3), np.uint8)
    edge = [[-5.0, -5.0, 3.0, 2.0], [38.0, 48.0, 60.0, 70.0]]
    detections = persons([None, [], edge])
    found = look(pose, [image] * 3, detections=detections).to_pylist()
    assert found[:2] == [None, []]
    assert [len(one["keypoints"]) for one in found[2]] == [17, 17]
    rows = pa.table({"width": [40] * 3, "height": [50] * 3, "detections": detections})
    views = [np.zeros((1024, 1024, 3), np.uint8)] * 3
    sliced = pose.predict(views[1:], rows.slice(1))
    assert sliced.to_pylist() == pose.predict(views, rows).to_pylist()[1:]
    assert look(pose, [], detections=persons([])).to_pylist() == []


def test_pose_wants_detections(pose: Model) -> None:
    assert isinstance(pose, SinglePersonPose)
    with pytest.raises(UserError, match=r"add a detector to the job, such as --detect"):
        look(pose, [CAT])


@pytest.mark.parametrize("name", ["ssd-mobilenet-v2-coco", "efficientnet-lite3"])
def test_a_value_does_not_depend_on_its_batch(name: str) -> None:
    model = lakesight.load(name, num_threads=2).model
    photos = [ASTRONAUT, CAT, COFFEE, MOTORCYCLE, ROCKET]
    together = look(model, photos).to_pylist()
    assert together == [look(model, [photo]).to_pylist()[0] for photo in photos]
    assert look(model, []).type == model.output.type
