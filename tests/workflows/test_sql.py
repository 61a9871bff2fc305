import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lakesight.errors import UserError
from tests.outputs import row, vector, write_output, write_pictures
from workflows.sql import Sql

NAMES = [f"{number:02}.jpg" for number in range(9)] + ["broken.jpg"]


@pytest.fixture
def output(new_root: Callable[[], str]) -> str:
    source, output = new_root(), new_root()
    write_pictures(source, NAMES)
    write_output(source, output)
    return output


@pytest.fixture
def local_output(tmp_path: Path) -> str:
    write_pictures(str(tmp_path / "source"), NAMES)
    write_output(str(tmp_path / "source"), str(tmp_path / "seen"))
    return str(tmp_path / "seen")


def ask(output: str, statement: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    capsys.readouterr()
    sql = Sql.model_validate({"output": output, "statement": statement, "json": True})
    assert sql.run() == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_counts_what_was_committed(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    statement = "SELECT status, count(*) AS n FROM rows GROUP BY ALL ORDER BY n"
    assert ask(output, statement, capsys) == [
        {"status": "error", "n": 1},
        {"status": "ok", "n": 9},
    ]


def test_reads_every_kind_of_column(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    read = ask(output, "SELECT * FROM rows WHERE uri LIKE '%/01.jpg'", capsys)
    expected = row(str(read[0]["uri"]))
    assert read[0]["caption"] == expected["caption"]
    assert read[0]["embedding"] == vector(str(read[0]["uri"])).tolist()
    detections = read[0]["detections"]
    assert isinstance(detections, list)
    assert [each["box"] for each in detections] == [each["box"] for each in expected["detections"]]


def test_rows_are_the_latest_and_all_rows_are_all(
    local_output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "source" / "03.jpg"
    picture.write_bytes((tmp_path / "source" / "04.jpg").read_bytes() + b"\0")
    write_output(str(tmp_path / "source"), local_output)
    etags = "SELECT list(etag) AS etags FROM {} WHERE uri LIKE '%/03.jpg'"
    (latest,) = ask(local_output, etags.format("rows"), capsys)
    (every,) = ask(local_output, etags.format("all_rows"), capsys)
    assert isinstance(latest["etags"], list)
    assert isinstance(every["etags"], list)
    assert (len(latest["etags"]), len(every["etags"])) == (1, 2)
    assert latest["etags"][0].endswith(f"-{picture.stat().st_size:x}")
    assert ask(local_output, "SELECT count(*) AS n FROM rows", capsys) == [{"n": len(NAMES)}]


def test_prints_a_table(local_output: str, capsys: pytest.CaptureFixture[str]) -> None:
    statement = "SELECT caption, width FROM rows WHERE status = 'ok' ORDER BY uri"
    Sql(output=local_output, statement=statement, max_rows=2).run()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["caption", "width"]
    assert len(lines) == 5
    assert lines[2].endswith("96")
    assert lines[-1].startswith("The first 2 rows")


def test_an_empty_result_is_a_table_too(
    local_output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Sql(output=local_output, statement="SELECT uri FROM rows WHERE false").run()
    assert capsys.readouterr().out.splitlines() == ["uri", "---", "0 rows"]


def test_prints_csv(local_output: str, capsys: pytest.CaptureFixture[str]) -> None:
    statement = "SELECT uri, detections, caption FROM rows ORDER BY uri"
    Sql(output=local_output, statement=statement, csv=True).run()
    read = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(read) == len(NAMES)
    labels = [each["label"] for each in json.loads(read[0]["detections"])]
    assert labels == [each["label"] for each in row(read[0]["uri"])["detections"]]
    assert read[-1] == {"uri": read[-1]["uri"], "detections": "", "caption": ""}


@pytest.mark.parametrize(
    "statement",
    [
        "SELEC uri FROM rows",
        "SELECT nothing FROM rows",
        "SELECT uri::INTEGER FROM rows",
        "DELETE FROM rows",
        "DROP VIEW rows",
        "COPY rows TO 'x.csv'",
        "SELECT * FROM read_parquet('x.parquet')",
        "SELECT 1; DROP VIEW rows",
        "",
    ],
)
@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_a_mistake_is_one_line(
    statement: str, form: str, local_output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = {form: True} if form != "table" else {}
    command = Sql.model_validate({"output": local_output, "statement": statement} | flags)
    with pytest.raises(UserError) as caught:
        command.run()
    assert "\n" not in str(caught.value)


def test_one_form_at_a_time(local_output: str) -> None:
    fields = {"output": local_output, "statement": "SELECT 1", "csv": True, "json": True}
    with pytest.raises(UserError, match="not both"):
        Sql.model_validate(fields).run()


def test_an_output_without_rows_can_be_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lakesight.lake.output import Output
    from tests.outputs import SCHEMA, SETTINGS

    Output.open(str(tmp_path)).bind(SETTINGS, SCHEMA)
    assert ask(str(tmp_path), "SELECT count(*) AS n FROM rows", capsys) == [{"n": 0}]
    assert ask(str(tmp_path), "SELECT embedding FROM all_rows", capsys) == []
