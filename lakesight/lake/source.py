"""Where the objects come from: a folder, a prefix, a glob, one object, or a list of URIs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from lakesight.errors import UserError
from lakesight.lake.globs import has_magic, is_image, matches
from lakesight.lake.local import LocalStore
from lakesight.lake.store import ENTRIES, Entry, Store
from lakesight.lake.uri_list import is_list, read_list
from lakesight.lake.uris import is_s3, local_path, split_s3
from lakesight.schemas import LISTING, WORDS, told_etag


class Source(BaseModel):
    """What to look at. Listing it is lazy and holds one page in memory.

    `uri` is one of
    - a folder or an `s3://bucket/prefix/`: everything below it, at any depth;
    - a glob, `photos/**/*.jpg` or `s3://bucket/photos/**/*.jpg`;
    - one object;
    - a list: `.txt` (one URI a line), `.csv` or `.parquet` (column `uri`, `url` or `path`, or the
      only column; columns `etag`, `size` and `modified` are believed where there are), or the
      `manifest.json` of an S3 Inventory.

    From folders, prefixes and inventories only keys with the suffix of an image are taken (jpg jpeg
    png webp gif bmp tif tiff avif heic heif, in either case) unless `include` is given. Globs,
    lists and single objects are taken whole. Linked folders are not followed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    uri: str
    """Folder, s3:// prefix, glob, object, or list of URIs."""
    include: tuple[str, ...] = ()
    """Globs of keys to take, relative to the folder (for a list: of whole URIs)."""
    exclude: tuple[str, ...] = ()
    """Globs of keys to leave out, relative to the folder (for a list: of whole URIs)."""
    words: tuple[str, ...] = ()
    """Columns of `schemas.WORDS` that a list's rows bring along, where it has them."""

    def list(self, skipped: Counter[str] | None = None) -> Iterator[pa.Table]:
        """Yield tables of schema `LISTING`; count by suffix in `skipped` what is left out.

        A list that has some of the `words` yields those columns too, and etags that change with
        them (`schemas.told_etag`). Raises UserError for what does
        not exist or may not be read, and as `read_list`.
        """
        counts: Counter[str] = Counter() if skipped is None else skipped
        pages, images_only = _pages(self.uri, self.words)
        for page in pages:
            mask = self._wanted(page["key"], images_only=images_only)
            counts.update(map(_suffix, page["key"].filter(pc.invert(mask)).to_pylist()))
            words = [name for name in WORDS.names if name in page.column_names]
            taken = page.filter(mask).select([*LISTING.names, *words])
            if taken.num_rows:
                yield _told(taken, words) if words else taken

    def _wanted(self, keys: pa.ChunkedArray, *, images_only: bool) -> pa.ChunkedArray:
        if self.include:
            mask = matches(keys, self.include)
        elif images_only:
            mask = is_image(keys)
        else:
            mask = pc.is_valid(keys)
        return pc.and_not(mask, matches(keys, self.exclude)) if self.exclude else mask


def _told(page: pa.Table, words: Sequence[str]) -> pa.Table:
    """Return a page whose etags change with its words."""
    etags = [
        told_etag(etag, said)
        for etag, said in zip(page["etag"].to_pylist(), page.select(words).to_pylist(), strict=True)
    ]
    place = page.column_names.index("etag")
    return page.set_column(place, LISTING.field("etag"), pa.array(etags, pa.string()))


def _pages(uri: str, words: Sequence[str]) -> tuple[Iterator[pa.Table], bool]:
    """Return tables of `ENTRIES` with keys relative to the source, and whether to pick images."""
    store, key = Store.open(uri)
    found = store.head(key) if key and not uri.endswith("/") else None
    if found is not None and is_list(key):
        return read_list(store, key, words)
    if found is not None:
        return iter([_only(store, key, found)]), False
    if has_magic(uri) and not _is_folder(store):
        return _globbed(*_split_glob(uri)), False
    if isinstance(store, LocalStore) and not store.root.is_dir():
        raise UserError(f"there is no file or folder {store.root}")
    return _below(store, key), True


def _is_folder(store: Store) -> bool:
    return isinstance(store, LocalStore) and store.root.is_dir()


def _only(store: Store, key: str, entry: Entry) -> pa.Table:
    row = {"key": PurePosixPath(key).name, "uri": store.uri(key), **entry._asdict()}
    return pa.Table.from_pylist([row], schema=ENTRIES)


def _below(store: Store, folder: str) -> Iterator[pa.Table]:
    """Yield what lies below `folder`, with keys relative to it."""
    for page in store.list(folder):
        keys = pc.utf8_slice_codeunits(page["key"], len(folder) + 1 if folder else 0)
        yield page.set_column(0, ENTRIES.field("key"), keys)


def _globbed(folder: str, pattern: str) -> Iterator[pa.Table]:
    store, key = Store.open(folder)
    if isinstance(store, LocalStore) and not store.root.is_dir():
        raise UserError(f"there is no folder {store.root}")
    for page in _below(store, key):
        yield page.filter(matches(page["key"], ["/" + pattern]))


def _split_glob(uri: str) -> tuple[str, str]:
    """Split a glob after its last folder without magic: what is listed, and what is matched."""
    if is_s3(uri):
        bucket, path = split_s3(uri)
        root = f"s3://{bucket}"
    else:
        root, path = "", local_path(uri).as_posix()
    parts = path.split("/")
    fixed = next(index for index, part in enumerate(parts) if has_magic(part))
    folder = "/".join(parts[:fixed])
    return (f"{root}/{folder}" if root else folder or "/"), "/".join(parts[fixed:])


def _suffix(key: str) -> str:
    return PurePosixPath(key).suffix.lower()
