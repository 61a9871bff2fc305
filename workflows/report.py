"""`lakesight report OUTPUT report.html`: what was seen, in one file that needs nothing else."""

from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from pydantic import Field
from pydantic_settings import CliPositionalArg

import lakesight
from lakesight import query
from lakesight.errors import UserError
from lakesight.files import whole
from lakesight.lake.store import Store
from lakesight.lake.uris import is_s3, local_path
from lakesight.models.base import Frozen
from lakesight.training.blip2.texts import SceneCaptions
from workflows.report_page import Page, gather
from workflows.report_truth import truth


class Report(Frozen):
    """Write what was seen into one HTML file: pictures with boxes, counts, errors, throughput.

    The pictures are inside the file, made smaller: it can be sent around, and loads nothing.

    Examples:
      lakesight report seen/ report.html
      lakesight report s3://bucket/seen report.html --num-pictures 200
      lakesight report seen/ report.html --truth scenes/
    """

    output: CliPositionalArg[str]
    """Folder or s3:// prefix that `lakesight annotate` wrote."""
    report: CliPositionalArg[str]
    """The HTML file, here or at s3://."""
    num_pictures: int = Field(default=60, ge=0, le=2000)
    """Pictures to show, the same ones every time; about 90 kB each."""
    truth: str | None = None
    """What is known of the pictures, as `lakesight evaluate` takes it: every column that it speaks
    of is judged, and the figures are shown."""
    captions: SceneCaptions = "captions"
    """Of scenes as the truth, what captions are compared with: each of the short captions, the one
    description of everything, or all of them."""

    def run(self) -> int:
        """Write the report; return 0."""
        if self.truth is None and "captions" in self.model_fields_set:
            raise UserError("--captions is about scenes as the truth: give --truth, too")
        lake = lakesight.open(self.output)
        known = truth(lake, self.truth, self.captions) if self.truth else None
        page = gather(lake, query.open_rows(lake), self.num_pictures, known)
        data = render(page).encode()
        write(self.report, data)
        print(f"Wrote {len(page.pictures)} pictures, {len(data) / 1e6:.1f} MB, to {self.report}")
        return 0


def render(page: Page) -> str:
    """Return the page as HTML; everything that is not ours is escaped."""
    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=folder, autoescape=True, trim_blocks=True)
    template = environment.get_template("report.html.j2")
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return template.render(page=page, written=now)


def write(uri: str, data: bytes) -> None:
    """Write a file whole, or not at all."""
    if is_s3(uri):
        store, key = Store.open(uri)
        store.put(key, data)
        return
    path = local_path(uri)
    if path.is_dir():
        raise UserError(f"expected a file to write, such as {path / 'report.html'}, got a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as part:
            part.write_bytes(data)
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
