"""Texts to be found by pictures: those of an output or of a list, each once, and their vectors."""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

import lakesight
from lakesight.errors import UserError
from lakesight.lake.reader import Lake
from lakesight.lake.store import Store
from lakesight.lake.uris import is_s3, local_path
from lakesight.models import catalog
from lakesight.models.base import ImageEncoder, ModelSpec, TextEncoder
from lakesight.schemas import embedding_type, object_fields
from workflows.indexed import Content, check_rows, digest, fingerprint, model_of
from workflows.progress import progress

PAGE = 4096
"""Texts that are read, and embedded, at once."""
COLUMNS = ("embeddings", "embedding")
"""Where an output has what its own model embeds texts for."""
VECTOR, TEXT = "vector", "text"


@dataclass(frozen=True)
class Texts:
    """Texts somewhere."""

    uri: str
    fingerprint: str
    column: str
    pages: Callable[[], Iterator[pa.Array]]
    """Yield what holds them: texts, lists of them, or structs with a `text`."""

    def __iter__(self) -> Iterator[list[str]]:
        """Yield each text once, a page at a time; 16 bytes of each are remembered."""
        seen: set[bytes] = set()
        for page in self.pages():
            fresh = []
            for text in _texts_in(page):
                key = hashlib.blake2b(text.encode(), digest_size=16).digest()
                if text and key not in seen:
                    seen.add(key)
                    fresh.append(text)
            if fresh:
                yield fresh


def texts(
    source: str, column: str | None, text_model: str | None, licences: Sequence[str]
) -> Content:
    """Return the texts of an output's column, or of a list; UserError where there are none.

    `text_model` embeds them; of an output the one that embedded its pictures unless given.
    """
    lake = None if is_list(source) else lakesight.open(source)
    found = _of_output(lake, column) if lake else _of_list(source, column)
    spec = _encoder(lake, text_model, licences, source)
    model = catalog.build(spec)
    if not (isinstance(model, TextEncoder) and isinstance(model, ImageEncoder)):
        raise UserError(
            f"{spec.card.name} does not embed texts and pictures into one space: take a model of "
            "the family image-text (CLIP, SigLIP, SigLIP2, BLIP, BLIP-2)"
        )
    dim = model.embed_text([]).shape[1]
    dtype = pa.type_for_alias(str(spec.options.get("vector_dtype", "float16")))
    schema = pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field(TEXT, pa.string(), nullable=False),
            pa.field(VECTOR, embedding_type(dim, dtype)),
        ]
    )
    return Content(
        holds="texts",
        source=found.uri,
        fingerprint=digest({"texts": found.fingerprint, "model": spec.card.sha256}),
        column=found.column,
        model=spec,
        schema=schema,
        vectors=VECTOR,
        features=None,
        rows=lambda: _embedded(found, model, schema),
    )


def is_list(source: str) -> bool:
    """Return whether something of that name is a list of texts, and no output."""
    is_folder = not is_s3(source) and local_path(source).is_dir()
    return PurePosixPath(source).suffix.lower() in READERS and not is_folder


def _encoder(
    lake: Lake | None, text_model: str | None, licences: Sequence[str], source: str
) -> ModelSpec:
    if text_model:
        return catalog.spec(text_model, "embed", None, "auto", licences)
    made = [model_of(lake, column) for column in COLUMNS] if lake else []
    spec = next((one for one in made if one), None)
    if spec is None:
        raise UserError(
            f"{source} does not say what embeds its texts: name an image-text model as --text-model"
        )
    return spec


def _embedded(found: Texts, model: TextEncoder, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows of an index, with progress: to embed takes longer than to read twice."""
    kind = schema.field(VECTOR).type
    with progress(sum(map(len, found)), "texts") as state:
        for page in found:
            numbers = model.embed_text(page).astype(kind.value_type.to_pandas_dtype()).ravel()
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers), type=kind)
            ids = [hashlib.blake2b(text.encode(), digest_size=16).hexdigest() for text in page]
            yield pa.table([pa.array(ids), pa.array(page), vectors], schema=schema)
            state.done += len(page)


def _texts_in(page: pa.Array) -> list[str]:
    """Return the texts of a column, without white space around them."""
    while pa.types.is_list(page.type) or pa.types.is_large_list(page.type):
        page = page.flatten()
    if pa.types.is_struct(page.type):
        page = pc.struct_field(page, TEXT)
    return [text.strip() for text in page.to_pylist() if text]


def _holds_texts(kind: pa.DataType) -> bool:
    if TEXT in object_fields(kind):
        return True
    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check(kind: pa.DataType, column: str, uri: str) -> None:
    if not _holds_texts(kind):
        raise UserError(f"{uri} has no texts in the column {column!r}, but {kind}")


def _of_output(lake: Lake, column: str | None) -> Texts:
    check_rows(lake)
    schema, uri = lake.dataset().schema, lake.output.uri
    if column is None or column not in schema.names:
        named = "name" if column is None else f"it has no column {column!r}: name"
        fitting = [field.name for field in schema if _holds_texts(field.type)]
        raise UserError(
            f"{uri}: {named} the texts to index as --texts, one of {', '.join(fitting)}"
        )
    _check(schema.field(column).type, column, uri)

    def pages() -> Iterator[pa.Array]:
        for batch in lake.latest(["uri", "etag", column]):
            yield from (batch[column].slice(at, PAGE) for at in range(0, len(batch), PAGE))

    return Texts(uri, fingerprint(lake, column, {"holds": "texts"}), column, pages)


def _of_list(source: str, column: str | None) -> Texts:
    store, key = Store.open(source)
    head, uri, name = store.head(key), store.uri(key), column or TEXT
    if head is None:
        raise UserError(f"there is no list of texts at {source}")
    read = READERS[PurePosixPath(key).suffix.lower()]
    print_of = digest({"uri": uri, "etag": head.etag, "size": head.size, "column": name})
    return Texts(uri, print_of, name, lambda: read(store, key, name))


def _text(store: Store, key: str, column: str) -> Iterator[pa.Array]:  # noqa: ARG001
    """Yield the lines."""
    page: list[str] = []
    try:
        with io.TextIOWrapper(store.reader(key), encoding="utf-8-sig") as lines:
            for line in lines:
                page.append(line)
                if len(page) == PAGE:
                    yield pa.array(page, pa.string())
                    page = []
    except UnicodeDecodeError as error:
        raise UserError(f"{store.uri(key)} is no text in UTF-8: {error}") from None
    yield pa.array(page, pa.string())


def _csv(store: Store, key: str, column: str) -> Iterator[pa.Array]:
    convert = pyarrow.csv.ConvertOptions(
        column_types={column: pa.string()}, include_columns=[column], strings_can_be_null=True
    )
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    try:
        with store.reader(key) as file:
            for batch in pyarrow.csv.open_csv(pa.PythonFile(file, "r"), None, parse, convert):
                yield from (batch[column].slice(at, PAGE) for at in range(0, len(batch), PAGE))
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise _no_list(store.uri(key), column, error) from None


def _parquet(store: Store, key: str, column: str) -> Iterator[pa.Array]:
    try:
        with store.reader(key) as file, pq.ParquetFile(pa.PythonFile(file, "r")) as parquet:
            if column not in parquet.schema_arrow.names:
                raise KeyError(f"no column {column!r}")
            _check(parquet.schema_arrow.field(column).type, column, store.uri(key))
            for batch in parquet.iter_batches(PAGE, columns=[column]):
                yield batch[column]
    except (pa.ArrowInvalid, KeyError) as error:
        raise _no_list(store.uri(key), column, error) from None


def _no_list(uri: str, column: str, error: Exception) -> UserError:
    return UserError(
        f"{uri} is no list with texts in a column {column!r}, which --texts names: {error}"
    )


READERS: dict[str, Callable[[Store, str, str], Iterator[pa.Array]]] = {
    ".txt": _text,
    ".csv": _csv,
    ".parquet": _parquet,
}
