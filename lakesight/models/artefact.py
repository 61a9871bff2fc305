"""From a card's source to a local folder that holds exactly the card's files, each checked."""

import hashlib
import importlib.util
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from lakesight.cache import cache_folder
from lakesight.errors import UserError
from lakesight.files import whole
from lakesight.lake.store import Store
from lakesight.lake.uris import is_s3
from lakesight.models.base import FolderSource, HubSource, ModelCard, PackageSource, Source
from lakesight.runtimes.engines import ENDINGS
from lakesight.runtimes.onnx_graph import external_files


def stage(card: ModelCard) -> Path:
    """Return a local folder that holds the files listed in `card.sha256`, and no other.

    Every file is fetched where needed and its digest checked. Raises UserError when the source is
    missing, a file is missing, or a digest differs. Costs one read of every file.
    """
    if not card.sha256:
        raise UserError(
            f"the card of {card.name} lists no sha256: nothing could be checked before it is "
            "opened. List every file that the model needs, with its digest."
        )
    folder = cache_folder(f"models/{card.name}-{_fingerprint(card)}")
    origin = _origin(card, folder)
    for name, digest in card.sha256.items():
        _link(folder / name, origin / _inner(name))
        check_digest(folder / name, digest, name)
    return folder


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(path: Path, expected: str, name: str) -> None:
    """Raise UserError unless the file exists and has the expected hex SHA-256."""
    if not path.is_file():
        raise UserError(f"{name} is missing: expected it at {path.resolve()}")
    found = sha256_of(path)
    if found != expected:
        raise UserError(
            f"{name} is not the file that its card describes: expected sha256 {expected}, "
            f"got {found}. Fetch it again, or correct the card if you trust the new file."
        )


def weights_file(card: ModelCard, folder: Path) -> Path:
    """Return the one file of the card that a runtime reads, such as `model.onnx`.

    Raises UserError where there is not exactly one, and where an ONNX file keeps tensors outside
    its folder or in files that the card lists no digest for.
    """
    found = [name for name in card.sha256 if name.endswith(ENDINGS)]
    if len(found) != 1:
        raise UserError(
            f"the card of {card.name} lists {len(found)} files ending in {', '.join(ENDINGS)}; "
            "expected exactly one"
        )
    # A staged file may be a link: external data lies beside the file itself.
    path = (folder / found[0]).resolve()
    for beside in external_files(path) if path.suffix == ".onnx" else ():
        if beside not in card.sha256:
            raise UserError(
                f"{path.name} keeps tensors in {beside}, which the card lists no sha256 for"
            )
    return path


def read_labels(card: ModelCard, folder: Path) -> tuple[str, ...]:
    """Return the class names by id: from the card, or from the file of labels that it names."""
    if card.labels is None:
        raise UserError(f"the card of {card.name} has no labels")
    if not isinstance(card.labels, str):
        return card.labels
    if card.labels not in card.sha256:
        raise UserError(f"the card of {card.name} lists no sha256 for its labels, {card.labels!r}")
    text = (folder / card.labels).read_text(encoding="utf-8")
    return tuple(line.strip() for line in text.splitlines())


def _fingerprint(card: ModelCard) -> str:
    return hashlib.sha256(card.model_dump_json(include={"source", "sha256"}).encode()).hexdigest()[
        :16
    ]


def _inner(name: str) -> str:
    """Return a file name that stays inside its folder, or raise UserError."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"a card may only list files inside its folder, not {name!r}")
    return name


def local_folder(source: Source) -> Path | None:
    """Return the folder of a source on this machine; None for a remote one.

    Raises UserError where the package is not installed.
    """
    match source:
        case PackageSource():
            return _package_folder(source) / source.folder
        case FolderSource() if not is_s3(source.uri):
            return Path(source.uri).resolve()
        case _:
            return None


def _origin(card: ModelCard, folder: Path) -> Path:
    """Return the local folder that the files come from; those on S3 are fetched into `folder`."""
    source = card.source
    match source:
        case HubSource():
            return _from_hub(source, card)
        case FolderSource() if is_s3(source.uri):
            _download(source.uri, card.sha256, folder)
            return folder
        case _:
            local = local_folder(source)
            assert local is not None
            return local


def _package_folder(source: PackageSource) -> Path:
    """Return where a package lies, without importing it."""
    found = importlib.util.find_spec(source.package)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"the package {source.package} is not installed: {source.install}")
    return Path(found.submodule_search_locations[0])


def _download(uri: str, digests: Mapping[str, str], folder: Path) -> None:
    """Fetch the files that are not there yet, each checked before it gets its name."""
    store, prefix = Store.open(uri)
    for name, digest in digests.items():
        path = folder / _inner(name)
        if path.is_file() and sha256_of(path) == digest:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with whole(path) as part:
                key = f"{prefix}/{name}".lstrip("/")
                with store.reader(key) as source, part.open("wb") as target:
                    shutil.copyfileobj(source, target, 8 << 20)
                check_digest(part, digest, name)
        except FileNotFoundError as error:
            raise UserError(
                f"the model folder {uri} has no {name}, which its card lists"
            ) from error


def _from_hub(source: HubSource, card: ModelCard) -> Path:
    """Return the hub client's folder of that commit, with the card's files fetched."""
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            source.repo, revision=source.revision, allow_patterns=list(card.sha256)
        )
    except Exception as error:  # the client's transport errors share no public base
        first_line = str(error).partition("\n")[0]
        raise UserError(
            f"cannot fetch hf:{source.repo}@{source.revision}: {first_line}. Check the network and "
            "HF_TOKEN, or copy the folder here and name its path."
        ) from error
    return Path(found)


def _link(link: Path, target: Path) -> None:
    """Make `link` lead to `target`; another process may be doing the same."""
    if link == target or (link.is_symlink() and link.readlink() == target):
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f".{link.name}.{uuid.uuid4().hex}")
    fresh.symlink_to(target)
    fresh.replace(link)
