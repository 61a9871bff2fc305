"""JSON of Arrow values reads back to the same bits, at any depth, sliced and with nulls."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lakesight.online.values import as_vectors, encode, plain, short
from lakesight.schemas import ANSWERS, CAPTIONS, CLASSES, detection_type, embedding_type

BOX = [0.1, 1 / 3, 99.99, 1e-7]
DETECTION = {
    "box": BOX,
    "score": 0.9,
    "class_id": 3,
    "label": "bus",
    "keypoints": [[1.1, 2.2, 0.3]],
    "mask": {"size": [4, 5], "counts": "abc"},
    "obb": [1.1, 2.2, 3.3, 4.4, 0.7],
}
COLUMNS = {
    "detections": pa.array(
        [[DETECTION], None, [], [DETECTION | {"keypoints": None, "mask": None}, DETECTION]],
        detection_type(keypoints=True, masks=True, angles=True),
    ),
    "classes": pa.array([[{"class_id": 1, "label": "a", "score": 0.7}], None], CLASSES),
    "captions": pa.array([[{"text": "x", "score": None, "prompt": None}], []], CAPTIONS),
    "answers": pa.array([[{"question": "q", "answer": "a", "score": 1 / 7}]], ANSWERS),
    "embedding": pa.array([np.array([0.1, 0.7], np.float16), None], embedding_type(2)),
    "vectors": pa.array([[[0.1, 0.7], [0.3, 0.2]], []], pa.list_(pa.list_(pa.float32(), 2))),
    "caption": pa.array(["é", None]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_json_reads_back_to_the_same_bits(name: str) -> None:
    column = COLUMNS[name]
    read = json.loads(encode(plain(column)))
    assert pa.array(read, column.type).equals(column)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_part_of_a_column_is_that_part(name: str) -> None:
    column = pa.concat_arrays([COLUMNS[name], COLUMNS[name]])
    for start in range(len(column)):
        assert plain(column[start:]) == plain(column)[start:]


def test_numbers_are_as_short_as_numpy_writes_them() -> None:
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    said = encode(plain(pa.array(values))).decode().strip("[]").split(",")
    assert [float(one) for one in said] == [float(str(value)) for value in values]


def test_a_float16_reads_back_as_the_float32_that_it_is() -> None:
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float16)
    read = np.array(json.loads(encode(plain(pa.array(values)))), np.float32)
    assert (read == values.astype(np.float32)).all()


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 0)])
def test_vectors_keep_shape_and_bits(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    back = as_vectors(json.loads(encode(short(values).tolist())))
    assert np.array_equal(back.reshape(shape), values)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), b"null"),
        (float("inf"), b"null"),
        ({"a": b"\x00\xff"}, b'{"a":"AP8="}'),
        ("\N{SNOWMAN}", '"\N{SNOWMAN}"'.encode()),
    ],
)
def test_what_json_has_no_word_for(value: Any, said: bytes) -> None:
    assert encode(value) == said
