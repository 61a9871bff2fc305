"""The 1,060 files of Pillow's own test suite: crashes, bombs, endless loops, and good pictures."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import PIL
import psutil
import pytest

from lakesight.media.decode import Decoded, MediaError, decode
from lakesight.media.limits import Limits
from lakesight.media.pool import DecodePool
from lakesight.media.sniff import sniff
from lakesight.media.view import ImageView

VIEWS = [
    ImageView(width=160, height=160),
    ImageView(width=56, height=56, fit="crop", interpolation="bicubic"),
]

OFFLINE = ("No matching distribution found", "Failed to establish", "Temporary failure")


@pytest.fixture(scope="module")
def corpus(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """Return the files under Tests/images of the source distribution, by name."""
    name = f"pillow-{PIL.__version__}.tar.gz"
    assert pytestconfig.cache is not None
    archive = pytestconfig.cache.mkdir("pillow-source") / name
    if not archive.exists():
        folder = tmp_path_factory.mktemp("pillow")
        _download(folder)
        partial = archive.with_suffix(f".{folder.parent.name}")
        partial.write_bytes((folder / name).read_bytes())
        partial.replace(archive)
    return _images(archive)


def _download(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-binary", "pillow", "--retries", "1", "--dest", str(folder)]
    done = subprocess.run(
        [*command, f"pillow=={PIL.__version__}"], capture_output=True, text=True, check=False
    )
    if done.returncode and any(sign in done.stderr for sign in OFFLINE):
        pytest.skip("no package index can be reached to fetch Pillow's source distribution")
    assert done.returncode == 0, done.stderr


def _images(archive: Path) -> dict[str, bytes]:
    images = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            _, found, name = member.name.partition("/Tests/images/")
            file = tar.extractfile(member) if found and member.isfile() else None
            if file:
                images[name] = file.read()
    return images


def _decoders() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "lakesight.media.child" in p.cmdline()]


@pytest.fixture(scope="module")
def results(corpus: dict[str, bytes]) -> dict[str, Decoded | MediaError]:
    """Return what a pool makes of all of them; checks that each gives exactly one result."""
    before, names = _decoders(), list(corpus)  # those of a server that other tests use
    good = corpus["hopper.png"]
    with DecodePool(VIEWS, Limits(max_memory_bytes=1 << 30), num_processes=2) as pool:
        given = list(pool.decode((key, corpus[name]) for key, name in enumerate(names)))
        after = dict(pool.decode([(0, good)]))[0]
    assert sorted(key for key, _ in given) == list(range(len(names)))
    assert isinstance(after, Decoded)
    assert (after.views[0] == decode(good, VIEWS, Limits()).views[0]).all()
    assert _decoders() == before
    return {names[key]: result for key, result in given}


def test_every_file_gives_exactly_one_result(
    corpus: dict[str, bytes], results: dict[str, Decoded | MediaError]
) -> None:
    assert len(corpus) > 1000
    assert results.keys() == corpus.keys()
    for result in results.values():
        if isinstance(result, Decoded):
            assert [view.shape for view in result.views] == [(160, 160, 3), (56, 56, 3)]
        else:
            assert result.message
            assert "\n" not in result.message


PILLOW = """
import json, sys, warnings
from pathlib import Path
from PIL import Image
import pillow_heif

pillow_heif.register_heif_opener()
warnings.simplefilter("ignore")
Image.MAX_IMAGE_PIXELS = 50_000_000  # an error from twice that on
sizes = {}
for path in Path(sys.argv[1]).iterdir():
    try:
        with Image.open(path, formats=sys.argv[2].split()) as image:
            image.load()
            sizes[path.name] = image.size
    except Exception:
        pass
print(json.dumps(sizes))
"""


def test_what_pillow_reads_is_read(
    corpus: dict[str, bytes], results: dict[str, Decoded | MediaError], tmp_path: Path
) -> None:
    """The outside reference is Pillow itself, allowed the same formats, in a process of its own."""
    pytest.importorskip("pillow_heif")
    names = [name for name, data in corpus.items() if sniff(data)]
    for key, name in enumerate(names):
        (tmp_path / str(key)).write_bytes(corpus[name])
    formats = "JPEG PNG GIF BMP WEBP TIFF AVIF HEIF"
    done = subprocess.run(
        [sys.executable, "-c", PILLOW, str(tmp_path), formats],
        stdout=subprocess.PIPE,
        check=True,
    )
    reference = {names[int(key)] for key in json.loads(done.stdout)}
    read = {name for name, result in results.items() if isinstance(result, Decoded)}
    assert read == reference


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("decompression_bomb.gif", "too many pixels"),
        ("bmp/b/reallybig.bmp", "too many pixels"),
        ("truncated_image.png", "truncated"),
        ("truncated_jpeg.jpg", "truncated"),
        ("broken.png", "undecodable"),
        ("hopper.psd", "unsupported format"),
    ],
)
def test_errors_say_what_is_wrong(
    results: dict[str, Decoded | MediaError], name: str, kind: str
) -> None:
    result = results[name]
    assert isinstance(result, MediaError)
    assert result.type == kind
