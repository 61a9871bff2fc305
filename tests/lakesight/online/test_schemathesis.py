"""Whatever OpenAPI says can be sent, and what it says cannot, through schemathesis."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import positive_data_acceptance

from lakesight.online import key_file
from lakesight.online.keys import make
from tests.serving import running

NUM_EXAMPLES = 40
SKIPPED = [positive_data_acceptance]
"""What fits the schema may still be no picture, or name no model."""


class Server(NamedTuple):
    url: str
    token: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    keys = tmp_path_factory.mktemp("schema") / "keys" / "keys.json"
    made = make("schemathesis")
    key_file.add(keys, made.key)
    models = ["starter-yolo-detect", "starter-yolo-classify"]
    with running(keys=keys, models=models) as found:
        yield Server(found.url, made.token)


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_is_as_openapi_says(server: Server, mode: GenerationMode) -> None:
    """Not by its pytest plugin, which knows no pytest 9."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    found: Any = schema.get_all_operations()
    operations = [one.ok() for one in found]
    assert len(operations) > 15
    wrong = {one.label: mistake for one in operations if (mistake := tried(one, mode, server))}
    assert not wrong, "\n\n".join(f"{label}: {found}" for label, found in wrong.items())


def tried(operation: Any, mode: GenerationMode, server: Server) -> BaseException | None:
    """Send what is made up for one operation; return what was wrong with an answer."""
    headers = {"Authorization": f"Bearer {server.token}"}

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=NUM_EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Any) -> None:
        case.call_and_validate(headers=headers, excluded_checks=SKIPPED, timeout=60)

    try:
        send()
    except Unsatisfiable:  # there is nothing in it that could be wrong
        return None
    except (Exception, FailureGroup) as error:
        return error
    return None
