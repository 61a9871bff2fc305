"""The page in a real Chromium, by a real server: what a person does, and what is then there."""

import base64
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

import lakesight
from lakesight.lake.local import etag_of
from lakesight.lake.uris import file_uri
from lakesight.online import key_file, signin
from lakesight.online.keys import Made, make
from lakesight.schemas import ANSWERS, row_id
from tests import photos
from tests.browser import chromium
from tests.indexing import rows_of, unit
from tests.lakesight.models import tiny
from tests.lakesight.online.conftest import CAPTION
from tests.serving import Running, running
from workflows.finder import open_index
from workflows.scenes import Scenes

PATIENCE_MS = 120_000
MANY = 500
TASKS = ("segment", "obb", "pose", "classify")
expect.set_options(timeout=PATIENCE_MS)


class Site(NamedTuple):
    server: Running
    made: Made

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.made.token}"}

    def search(self, **asked: Any) -> list[dict[str, Any]]:
        """Return what the endpoint finds."""
        answer = self.server.client.post("/v1/search", json=asked, headers=self.headers)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["results"]
        return found


@pytest.fixture(scope="module")
def site(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    keys = tmp_path_factory.mktemp("page") / "keys" / "keys.json"
    made = make("page")
    key_file.add(keys, made.key)
    many(place)
    kinds(place)
    words(place)
    closer(place)
    indexes = {name: str(place / name) for name in ("texts", "many", "kinds", "words", "closer")}
    with running(open_index, indexes=indexes, keys=keys, num_threads=1) as server:
        yield Site(server, made)


def many(place: Path) -> None:
    """Publish an index of rows over and over, under ids of their own."""
    searcher = open_index(str(place / "texts"))
    rows = searcher.browse(1000)
    vectors = [searcher.vectors(one)[0] for one in rows["id"].to_pylist()]
    dim = len(vectors[0])
    flat = pa.array([number for one in vectors for number in one], pa.float32())
    rows = rows.append_column("embedding", pa.FixedSizeListArray.from_arrays(flat, dim))
    rows = pa.concat_tables([rows] * (MANY // len(rows) + 1)).slice(0, MANY)
    ids = [row_id("many", str(number)) for number in range(MANY)]
    rows = rows.set_column(rows.schema.get_field_index("id"), "id", pa.array(ids))
    photos.publish(rows, place / "many", None)


def kinds(place: Path) -> None:
    """Publish an index of scenes with what every kind of model sees on them."""
    folder = place / "scenes"
    Scenes(output=str(folder), num_images=0, num_val=4, size="224", seed=5).run()
    paths = sorted((folder / "images" / "val").iterdir())
    seen = {task: lakesight.load(f"starter-yolo-{task}").predict(paths) for task in TASKS}
    answer = {"question": "is there a star?", "answer": "yes", "score": 0.9}
    rows = rows_of(unit(len(paths), 4)).drop_columns(["group"])
    for name, values in {
        "uri": pa.array([file_uri(path) for path in paths]),
        "etag": pa.array([etag_of(path.stat()) for path in paths]),
        "width": pa.array([224] * len(paths), pa.int32()),
        "height": pa.array([224] * len(paths), pa.int32()),
        **{task: found.column for task, found in seen.items()},
        "answers": pa.array([[answer]] * len(paths), ANSWERS),
    }.items():
        rows = rows.append_column(name, values)
    photos.publish(rows, place / "kinds", None)


def words(place: Path) -> None:
    """Publish an index of texts, as `lakesight index --texts` does."""
    rows = rows_of(unit(2, 4)).drop_columns(["group"])
    rows = rows.append_column("caption", pa.array(["a red star", "a blue ring"]))
    photos.publish(rows, place / "words", None)


def closer(place: Path) -> None:
    """Publish an index of a BLIP-2 that matches, with what it saw of the photos."""
    folder = tiny.write("blip2-itc", place / "blip2")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    embedder = lakesight.load(str(folder), kind="embed", queries="all")
    seer = lakesight.load(str(folder), kind="embed", write="features")
    paths = sorted((place / "photos").iterdir())
    captions = [f"{path.stem}: a photo" for path in paths]
    rows = photos.looked_at(paths, embedder, captions)
    rows = rows.append_column("features", seer.predict(paths).column)
    photos.publish(rows, place / "closer", embedder)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def signed_in(browser: Browser, site: Site) -> Any:
    """What a browser keeps of having signed in by the link."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(signin.link(site.server.url, site.made.token))
    expect(cards(page).first).to_be_visible()
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def context(browser: Browser, signed_in: Any, request: pytest.FixtureRequest) -> Any:
    """A signed-in browser; whatever a page does wrong by itself fails the test."""
    options = getattr(request, "param", {})
    yield from watched(browser.new_context(storage_state=signed_in, **options))


@pytest.fixture
def stranger(browser: Browser) -> Iterator[BrowserContext]:
    """A browser that never was here."""
    yield from watched(browser.new_context())


def watched(context: BrowserContext) -> Iterator[BrowserContext]:
    wrong: list[str] = []
    asked: list[str] = []
    context.set_default_timeout(PATIENCE_MS)
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    context.on("dialog", lambda dialog: wrong.append(dialog.message))
    context.on("request", lambda sent: asked.append(sent.url))
    context.on("console", lambda said: wrong.append(said.text) if is_wrong(said) else None)
    yield context
    context.close()
    assert wrong == []
    hosts = {re.sub(r"^(https?://[^/]*)/.*", r"\1", url) for url in asked}
    outside = {host for host in hosts if not host.startswith(("http://127.0.0.1:", "blob:"))}
    assert outside == set(), "the page needs no other host"


def is_wrong(said: Any) -> bool:
    """Chromium also writes down each answer that is a refusal, which may be what is tested."""
    return said.type in ("error", "warning") and "status of 4" not in said.text


@pytest.fixture
def page(context: BrowserContext, site: Site) -> Page:
    """The page, with the rows that it begins with."""
    found = context.new_page()
    found.goto(site.server.url)
    expect(cards(found).first).to_be_visible()
    return found


@pytest.fixture
def unwatched(browser: Browser, signed_in: Any, site: Site) -> Iterator[Page]:
    """The page, of which Chromium may write down what fails."""
    context = browser.new_context(storage_state=signed_in)
    context.set_default_timeout(PATIENCE_MS)
    found = context.new_page()
    found.goto(site.server.url)
    expect(cards(found).first).to_be_visible()
    yield found
    context.close()


def cards(page: Page) -> Any:
    return page.locator("#grid .card")


def ids(page: Page) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        "#grid .open", "links => links.map(link => link.dataset.row)"
    )
    return found


def searched(page: Page, text: str) -> None:
    """Search by a text, and wait until its rows are there."""
    with page.expect_response("**/v1/search"):
        page.get_by_role("searchbox").fill(text)
        page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("ms")


def has_pixels(page: Page, selector: str) -> None:
    page.wait_for_function("one => document.querySelector(one)?.naturalWidth > 0", arg=selector)


# ---- searching ----


def test_it_begins_with_rows_of_the_index(page: Page, site: Site) -> None:
    assert len(ids(page)) == len(photos.NAMES) * 4
    has_pixels(page, "#grid .frame img")
    expect(page.get_by_role("searchbox")).to_be_focused()


def test_by_text(page: Page, site: Site) -> None:
    searched(page, "a red bus")
    found = site.search(text="a red bus", k=60)
    assert ids(page) == [one["id"] for one in found]
    assert "?text=a+red+bus" in page.url
    assert page.title() == "a red bus · Lakesight"
    first = cards(page).first
    expect(first.locator(".said")).to_have_text(found[0]["caption"])
    expect(first.locator(".score")).to_have_text(f"{found[0]['score']:.2f}")
    drawn = first.locator(".overlay rect.box")
    expect(drawn).to_have_count(len(found[0]["detections"]))


EVENTS = """([names, base64]) => {
    const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], "my.jpg", {type: "image/jpeg"}));
    for (const name of names) {
        const given = {bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data};
        const kind = name === "paste" ? ClipboardEvent : DragEvent;
        document.body.dispatchEvent(new kind(name, given));
    }
}"""
"""What a browser tells a page of a file that is dropped, or pasted."""
WAYS = {"chosen": (), "dropped": ("dragenter", "dragover", "drop"), "pasted": ("paste",)}


@pytest.mark.parametrize("way", WAYS)
def test_by_picture(page: Page, site: Site, place: Path, way: str) -> None:
    photo = place / "photos" / "coffee-left.jpg"
    with page.expect_response("**/v1/search"):
        if way == "chosen":
            page.locator("#file").set_input_files(photo)
        else:
            data = base64.b64encode(photo.read_bytes()).decode()
            page.evaluate(EVENTS, [WAYS[way], data])
    expect(page.get_by_role("status")).to_contain_text("ms")
    expect(cards(page).first.locator(".said")).to_have_text("coffee-left: a photo")
    expect(page.locator("#note")).to_contain_text("does not hold your picture")
    expect(page.locator("#drop")).to_be_hidden()
    has_pixels(page, "#asked img")
    page.go_back()
    expect(page.locator("#asked")).to_be_hidden()
    page.go_forward()
    expect(cards(page).first.locator(".said")).to_have_text("coffee-left: a photo")
    page.reload()
    expect(page.locator("#empty")).to_contain_text("The picture is not here any more")


def test_more_like_this(page: Page, site: Site) -> None:
    first = ids(page)[0]
    cards(page).first.hover()
    with page.expect_response("**/v1/search"):
        cards(page).first.get_by_role("link", name="More like this").click()
    expect(page.get_by_role("status")).to_contain_text("ms")
    assert ids(page) == [one["id"] for one in site.search(id=first, k=60)]
    assert f"id={first}" in page.url
    page.get_by_role("button", name="Search by something else").click()
    expect(page.locator("#asked")).to_be_hidden()
    expect(page).not_to_have_url(re.compile("id="))


def test_filters(page: Page, site: Site) -> None:
    """Label, score and SQL make one condition, which is in the address; back takes it off."""
    searched(page, "a cat")
    before = ids(page)
    with page.expect_response("**/v1/search"):
        page.get_by_role("button", name=re.compile("^cat ")).click()
    where = "list_contains([d.label for d in detections if d.score >= 0.5], 'cat')"
    expect(page.locator("#labels [aria-pressed=true]")).to_contain_text("cat")
    with page.expect_response("**/v1/search"):
        page.get_by_label("Minimum score").fill("0.5")
        page.get_by_label("Minimum score").dispatch_event("change")
    with page.expect_response("**/v1/search"):
        page.get_by_label("SQL condition").fill("uri LIKE '%left%'")
        page.keyboard.press("Enter")
    found = site.search(text="a cat", k=60, where=f"({where}) AND uri LIKE '%left%'")
    assert 0 < len(found) < len(before)
    expect(cards(page)).to_have_count(len(found))
    assert ids(page) == [one["id"] for one in found]
    assert "label=detections%3Acat&min=0.5" in page.url
    page.reload()
    expect(cards(page)).to_have_count(len(found))
    page.go_back()
    page.go_back()
    expect(cards(page)).to_have_count(len(before))
    assert ids(page) == before


def test_nothing_fits(page: Page) -> None:
    page.get_by_label("SQL condition").fill("width > 100000")
    page.keyboard.press("Enter")
    expect(page.locator("#empty")).to_contain_text("Nothing fits")
    page.get_by_role("button", name="Leave them out").click()
    expect(cards(page).first).to_be_visible()


def test_an_error_is_one_sentence(page: Page) -> None:
    page.get_by_label("SQL condition").fill("colour = 'red'")
    page.keyboard.press("Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The request does not fit: SQL: Binder Error:")
    assert alert.inner_text().endswith(".")
    assert "{" not in alert.inner_text()
    page.get_by_label("SQL condition").fill("width > 1")
    page.keyboard.press("Enter")
    expect(alert).to_be_hidden()


GONE = "The server does not answer. Is it still running?"
LATE = "The answer took too long: no answer within 30 s."


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, GONE),
        (
            {
                "status": 504,
                "content_type": "application/problem+json",
                "body": '{"title": "The answer took too long", "detail": "no answer within 30 s"}',
            },
            LATE,
        ),
        ({"status": 502, "body": "<html>"}, "The server answered with 502 Bad Gateway."),
    ],
)
def test_a_server_that_fails_is_one_sentence_too(
    unwatched: Page, given: dict[str, Any] | None, said: str
) -> None:
    page = unwatched
    page.route("**/v1/search", lambda route: route.fulfill(**given) if given else route.abort())
    page.get_by_role("searchbox").fill("a cat")
    page.keyboard.press("Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_have_text(said)
    page.unroute("**/v1/search")
    searched(page, "a dog")
    expect(alert).to_be_hidden()


def test_another_index(page: Page, site: Site) -> None:
    page.get_by_label("Index").select_option("many")
    expect(cards(page)).to_have_count(60)
    expect(page).to_have_url(re.compile("index=many"))
    cards(page).nth(3).locator(".open").evaluate("one => { window.third = one; }")
    page.get_by_role("button", name="Show more").click()
    expect(cards(page)).to_have_count(120)
    more = site.server.client.get("/v1/rows?index=many&k=120", headers=site.headers).json()
    assert ids(page) == [one["id"] for one in more["results"]]
    page.get_by_role("searchbox").fill("a cat")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("does not say which model made it")


def test_a_closer_look_ranks_by_matching(page: Page, site: Site) -> None:
    """Where a text is asked for, and the index kept what the model saw."""
    tick = page.get_by_label("Look closer")
    searched(page, "a red bus")
    expect(tick).to_be_hidden()
    page.get_by_label("Index").select_option("closer")
    expect(tick).to_be_visible()
    plain = site.search(index="closer", text="a red bus", k=60)
    expect(cards(page).first.locator(".score")).to_have_text(f"{plain[0]['score']:.2f}")
    assert ids(page) == [one["id"] for one in plain]
    with page.expect_response("**/v1/search"):
        tick.check()
    again = site.search(index="closer", text="a red bus", k=60, rerank=100)
    assert [one["id"] for one in again] != [one["id"] for one in plain]
    expect(page).to_have_url(re.compile("rerank=1"))
    expect(page.get_by_role("status")).to_contain_text("ms")
    assert ids(page) == [one["id"] for one in again]
    page.reload()
    expect(tick).to_be_checked()
    expect(cards(page)).to_have_count(len(again))
    assert ids(page) == [one["id"] for one in again]


def test_pictures_that_are_too_many_at_once_come_a_little_later(unwatched: Page) -> None:
    """The server tells when; a picture that it has not is not asked for again."""
    page, asked = unwatched, Counter[str]()

    def busy(route: Route) -> None:
        asked[route.request.url] += 1
        if asked[route.request.url] > 2:  # of what a picture asks first, and why it got none
            route.continue_()
            return
        kind = {"Content-Type": "application/problem+json", "Retry-After": "1"}
        route.fulfill(status=429, headers=kind, body='{"detail": "too many at once"}')

    page.route("**/v1/rows/*/picture**", busy)
    page.reload()
    has_pixels(page, "#grid .frame img")
    assert asked.most_common(1)[0][1] >= 3


# ---- looking ----


def test_detail_has_every_column(page: Page, site: Site) -> None:
    searched(page, "a photo")
    row = site.search(text="a photo", k=60)[1]
    cards(page).nth(1).locator(".open").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert f"row={row['id']}" in page.url
    assert dialog.locator(".columns > dt").all_inner_texts() == list(row)
    expect(dialog.locator("tbody tr")).to_have_count(len(row["detections"]))
    expect(dialog.locator(".caption")).to_have_text(row["caption"])
    has_pixels(page, "#detail img")
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".caption")).not_to_have_text(row["caption"])
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page).not_to_have_url(re.compile("row="))
    expect(cards(page).nth(2).locator(".open")).to_be_focused()


def test_every_kind_of_thing_is_drawn_where_it_is(page: Page, site: Site) -> None:
    page.get_by_label("Index").select_option("kinds")
    expect(cards(page)).to_have_count(4)
    row = site.server.client.get("/v1/rows?index=kinds&k=4", headers=site.headers).json()
    row = row["results"][0]
    cards(page).first.locator(".open").click()
    dialog = page.get_by_role("dialog")
    layer = dialog.locator("svg.overlay")
    sure = {task: [one for one in row[task] if one["score"] >= 0.25] for task in TASKS[:3]}
    assert all(sure.values())
    expect(layer.locator("path.mask")).to_have_count(len(sure["segment"]))
    found = layer.locator("path.mask").evaluate_all(
        "all => all.map(one => one.getBBox()).map(b => [b.x, b.y, b.x + b.width, b.y + b.height])"
    )
    for one in sure["segment"]:
        assert min(np.abs(np.subtract(one["box"], box)).max() for box in found) < 6
    drawn = layer.locator("polygon.box").evaluate_all("all => all.map(one => one.points[0].x)")
    corners = []
    for one in sure["obb"]:
        x, _, width, height, angle = one["obb"]
        corners.append(x - width / 2 * math.cos(angle) + height / 2 * math.sin(angle))
    assert sorted(drawn) == pytest.approx(sorted(corners), abs=0.1)
    points = [point for one in sure["pose"] for point in one["keypoints"] if point[2] >= 0.3]
    joints = layer.locator("circle.joint").evaluate_all(
        "all => all.map(one => one.cx.baseVal.value)"
    )
    assert sorted(joints) == pytest.approx(sorted(x for x, _, _ in points), abs=0.1)
    expect(dialog.locator("dl.answers dt")).to_have_text("is there a star?")
    expect(dialog.locator("dl.answers dd")).to_have_text("yes")
    expect(dialog).to_contain_text(row["classify"][0]["label"])


def test_texts_are_rows_too(page: Page, site: Site, tmp_path: Path) -> None:
    page.get_by_label("Index").select_option("words")
    expect(cards(page)).to_have_count(2)
    expect(cards(page).first).to_contain_text("a red star")
    cards(page).first.locator(".open").click()
    expect(page.get_by_role("dialog")).to_contain_text("a red star")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Code").click()
    python = page.locator("#python").inner_text()
    environment = {**os.environ, "KEY": site.made.token, "HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", python], check=True, text=True, capture_output=True, env=environment
    )
    assert [line.split()[0] for line in ran.stdout.splitlines()] == ids(page)


def test_a_link_to_a_row_opens_it(page: Page, site: Site) -> None:
    """Also where it is not among the rows that are shown."""
    last = site.search(text="a photo", k=60)[-1]
    page.goto(f"{site.server.url}/?text=a+photo&k=3&row={last['id']}")
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".caption")).to_have_text(last["caption"])
    expect(cards(page)).to_have_count(3)
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    expect(page).to_have_url(f"{site.server.url}/?text=a+photo&k=3")


def test_a_caption_is_a_text(page: Page) -> None:
    page.get_by_label("SQL condition").fill("caption LIKE '<img%'")
    page.keyboard.press("Enter")
    expect(cards(page)).to_have_count(1)
    expect(cards(page).locator(".said")).to_have_text(CAPTION)
    cards(page).locator(".open").click()
    expect(page.get_by_role("dialog").locator(".caption")).to_have_text(CAPTION)


def test_boxes_follow_the_score(page: Page) -> None:
    page.get_by_label("SQL condition").fill("len([d for d in detections if d.score < 0.6]) > 0")
    page.keyboard.press("Enter")
    boxes = cards(page).first.locator(".overlay rect.box")
    expect(boxes.first).to_be_attached()
    before = boxes.count()
    page.get_by_label("Minimum score").fill("0.6")
    page.get_by_label("Minimum score").dispatch_event("change")
    expect(boxes).not_to_have_count(before)
    expect(page).to_have_url(re.compile("min=0.6"))
    page.get_by_label("Boxes").uncheck()
    expect(cards(page).first.locator(".overlay")).to_be_hidden()


def test_by_keyboard(page: Page, site: Site) -> None:
    page.keyboard.press("ArrowDown")
    opens = page.locator("#grid .open")
    expect(opens.first).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(opens.nth(1)).to_be_focused()
    line = "document.activeElement.closest('.card').offsetTop"
    first = page.evaluate(line)
    page.keyboard.press("ArrowDown")
    assert page.evaluate(line) > first
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    expect(opens.first).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("b")
    expect(page.get_by_label("Boxes")).not_to_be_checked()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("more like this picture")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("ArrowDown")
    with page.expect_response("**/v1/search"):
        page.keyboard.press("m")
    expect(page.locator("#asked")).to_contain_text("More like this")
    expect(opens.first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()


# ---- the same in code ----


@pytest.mark.parametrize("query", ["text", "picture", "row", "none"])
def test_the_code_finds_what_the_page_found(
    page: Page, site: Site, place: Path, tmp_path: Path, query: str
) -> None:
    where = "caption <> 'it''s \"$HOME\"' AND uri LIKE '%-left%'"
    page.get_by_label("SQL condition").fill(where)
    page.keyboard.press("Enter")
    expect(cards(page)).to_have_count(len(photos.NAMES))
    if query == "text":
        searched(page, "it's a `cup` of $coffee \\ é")
    elif query == "picture":
        page.locator("#file").set_input_files(place / "photos" / "coffee-left.jpg")
        expect(page.locator("#note")).to_be_visible()
        expect(page.get_by_role("status")).to_contain_text("ms")
    elif query == "row":
        cards(page).nth(2).locator(".open").focus()
        page.keyboard.press("m")
        expect(page.get_by_role("status")).to_contain_text("ms")
    expected = ids(page)
    assert expected
    page.get_by_role("button", name="Code").click()
    curl, python = page.locator("#curl").inner_text(), page.locator("#python").inner_text()
    assert site.made.token not in curl + python
    folder = place / "photos"
    environment = {**os.environ, "KEY": site.made.token, "HOME": str(tmp_path)}
    ran: Any = {"cwd": folder, "env": environment, "capture_output": True, "timeout": 240}
    answer = subprocess.run(["bash", "-c", curl], check=True, **ran)
    assert [one["id"] for one in json.loads(answer.stdout)["results"]] == expected
    printed = subprocess.run([sys.executable, "-c", python], check=True, text=True, **ran).stdout
    assert [line.split()[0] for line in printed.splitlines()] == expected


def test_the_code_is_copied(browser: Browser, signed_in: Any, site: Site) -> None:
    rights = ["clipboard-read", "clipboard-write"]
    context = browser.new_context(storage_state=signed_in, permissions=rights)
    page = context.new_page()
    page.goto(site.server.url)
    page.get_by_role("button", name="Code").click()
    page.get_by_role("button", name="Copy").nth(1).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    text = page.evaluate("navigator.clipboard.readText()")
    assert text == page.locator("#python").text_content()
    expect(page.get_by_role("button", name="Copy")).to_have_count(2)
    context.close()


# ---- signing in ----


def test_signing_in_by_hand_and_out(stranger: BrowserContext, site: Site) -> None:
    page = stranger.new_page()
    page.goto(f"{site.server.url}/?text=a+cat")
    field = page.get_by_label("Your API key")
    expect(field).to_be_focused()
    field.fill("lsk_000000000000_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("the API key is not known, or has ended")
    field.fill(f" {site.made.token} ")
    page.keyboard.press("Enter")
    expect(cards(page).first).to_be_visible()
    expect(page.get_by_role("searchbox")).to_have_value("a cat")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Your API key")).to_be_visible()
    expect(cards(page)).to_have_count(0)
    page.reload()
    expect(page.get_by_label("Your API key")).to_be_visible()


def test_the_link_signs_in_and_leaves_no_key_behind(stranger: BrowserContext, site: Site) -> None:
    page = stranger.new_page()
    page.goto(signin.link(site.server.url, site.made.token))
    expect(cards(page).first).to_be_visible()
    assert page.url == f"{site.server.url}/"
    assert site.made.token not in page.content()
    assert page.evaluate("[document.cookie, {...localStorage}, history.state]") == ["", {}, None]


def test_a_key_that_ends_asks_for_another(page: Page, context: BrowserContext, site: Site) -> None:
    context.clear_cookies()
    page.get_by_role("searchbox").fill("a cat")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("A valid API key is needed")
    expect(page.get_by_label("Your API key")).to_be_visible()


def test_without_an_index_it_says_how_to_make_one(stranger: BrowserContext) -> None:
    with running(num_threads=1) as server:
        page = stranger.new_page()
        page.goto(server.url)
        expect(page.locator("#empty")).to_contain_text("lakesight index")
        expect(page.get_by_role("searchbox")).to_be_hidden()
        expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
        assert checked(page) == []


# ---- for everybody ----

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LOOKS = [
    pytest.param({}, id="light"),
    pytest.param({"color_scheme": "dark"}, id="dark"),
    pytest.param({**PHONE, "color_scheme": "dark"}, id="phone"),
]


def checked(page: Page) -> list[str]:
    """Return what axe finds wrong."""
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]})
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
        for one in found.response["violations"]
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("context", LOOKS, indirect=True)
def test_everybody_can_use_it(page: Page, site: Site) -> None:
    searched(page, "a cat")
    has_pixels(page, "#grid .frame img")
    assert checked(page) == []
    cards(page).first.locator(".open").click()
    has_pixels(page, "#detail img")
    assert checked(page) == []


@pytest.mark.parametrize("context", [PHONE], indirect=True)
def test_on_a_phone(page: Page) -> None:
    """One column, nothing to scroll sideways, and nothing too small for a finger."""
    boxes = page.eval_on_selector_all("#grid .card", "all => all.map(one => one.offsetLeft)")
    assert len(set(boxes)) == 1
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    small = page.eval_on_selector_all(
        "button, a, input:not([type=checkbox]), select",
        """all => all.filter(one => one.checkVisibility() && !one.matches(".skip"))
            .map(one => [one.id || one.className, one.getBoundingClientRect()])
            .filter(([, box]) => box.height && box.height < 44 || box.width && box.width < 44)
            .map(([name]) => name)""",
    )
    assert set(small) <= {"min"}, "a slider has its thumb"
    cards(page).first.locator(".open").tap()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("context", [{"color_scheme": "dark"}], indirect=True)
def test_in_the_dark(page: Page) -> None:
    found = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", found))) < 40


@pytest.mark.parametrize("context", [{"reduced_motion": "reduce"}], indirect=True)
def test_nothing_moves_where_that_is_unwanted(page: Page) -> None:
    moves = page.eval_on_selector_all(
        "*", "all => all.map(one => getComputedStyle(one).transitionDuration)"
    )
    assert set(moves) <= {"0s"}


# ---- many rows, few bytes ----


def test_many_rows_are_drawn_as_they_come_near(page: Page, site: Site) -> None:
    page.goto(f"{site.server.url}/?index=many&k={MANY}")
    expect(cards(page)).to_have_count(MANY)
    has_pixels(page, "#grid .frame img")
    count = "document.querySelectorAll('#grid img').length"
    first = page.evaluate(count)
    assert 0 < first < MANY / 4
    height = page.evaluate("document.documentElement.scrollHeight")
    page.keyboard.press("End")
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(cards(page).last.locator("img")).to_be_attached()
    assert page.evaluate(count) < MANY / 2, "what was passed over was not loaded"
    assert page.evaluate("document.documentElement.scrollHeight") == height, "nothing moved"


def test_the_page_is_small_and_kept_for_good(site: Site) -> None:
    client = site.server.client
    index = client.get("/")
    assert index.headers["cache-control"] == "no-cache"
    assert "script-src 'self'" in index.headers["content-security-policy"]
    again = client.get("/", headers={"If-None-Match": index.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    names = set(re.findall(r"page/[0-9a-f]{16}/[a-z]+\.[a-z]+", index.text))
    folder = Path("lakesight/online/page")
    assert {name.rpartition("/")[2] for name in names} == {
        path.name for path in folder.iterdir() if path.name != "index.html"
    }, "all that is needed is named at once"
    num_bytes = int(index.headers["content-length"])
    for name in names:
        answer = client.get(f"/{name}")
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.content == (folder / name.rpartition("/")[2]).read_bytes()
        num_bytes += int(answer.headers["content-length"])
        plain = client.get(f"/{name}", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == answer.content
        other = client.get("/" + re.sub("[0-9a-f]{16}", "0" * 16, name))
        assert other.status_code == 404
    assert num_bytes < 32_000


def test_nothing_else_is_served(site: Site) -> None:
    version = re.findall(r"page/([0-9a-f]{16})/", site.server.client.get("/").text)[0]
    for name in ("index.py", "..%2fpage.py", "..%2f..%2fapp.py", ".", "x.js"):
        answer = site.server.client.get(f"/page/{version}/{name}")
        assert answer.status_code == 404, name
