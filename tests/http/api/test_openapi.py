"""The OpenAPI document describes every route, and schemathesis finds no answer that departs from it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient
from raven.model.schemas import SchemaRegistry
from raven_http.api.table import ROUTES
from raven_rpc.jsonrpc.errors import ERROR_CODES
from tests.http_bridge import BridgeHere

Serve = Callable[..., BridgeHere]
TOKEN = "0123456789abcdef" * 2
# A filter of `/history` is required, but which one of two a query cannot say in OpenAPI. An event stream has no end.
CONFIG = """
[[operations]]
include-path = "/history"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path = "/events"
enabled = false
"""


@pytest.mark.slow
def test_schemathesis_finds_no_fault(bridge: Serve, connect: Callable[..., BusClient], tmp_path: Path) -> None:
    connect("planner:demo").send("coder:demo", "task")
    served = bridge(token=TOKEN)
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG, encoding="utf-8")
    command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", str(config), "run"]
    options = ["--max-examples", "10", "--seed", "1", "--suppress-health-check", "all"]
    header = f"Authorization: Bearer {TOKEN}"

    run = subprocess.run(
        [*command, f"{served.url}/openapi.json", "--header", header, "--generation-database", "none", *options],
        capture_output=True,
        check=False,
        text=True,
        cwd=tmp_path,
    )

    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-1000:]
    assert f"Tested: {len(ROUTES) + 4}" in run.stdout
    assert not [line for line in served.log().splitlines() if "Invalid HTTP request" not in line]


def test_the_document_has_every_route_with_an_example_that_works(
    bridge: Serve, connect: Callable[..., BusClient]
) -> None:
    planner, coder = connect("planner:demo"), connect("coder:demo")
    served = bridge()

    paths = served.get("/openapi.json").json()["paths"]

    assert {(path, verb) for path, methods in paths.items() for verb in methods} >= {
        (route.path, route.verb.lower()) for route in ROUTES
    }
    for path, methods in paths.items():
        if "post" not in methods:
            continue
        [sent] = [planner.send("coder:demo", "task", max_attempts=1 if path == "/requeue" else None)]
        example = methods["post"]["requestBody"]["content"]["application/json"]["example"]
        [claimed] = [one for one in coder.claim(100) if one.id == sent.id] if path != "/claim" else [sent]
        if path == "/requeue":
            coder.nack(sent.id)
        changes = {"id": sent.id, "lease": claimed.lease, "ids": [sent.id]}
        body = {name: changes.get(name, value) for name, value in example.items()}
        answer = served.post(path.replace("{id}", str(sent.id)), json=body)
        assert answer.status_code == 200, (path, body, answer.text)


@pytest.mark.parametrize(("bound", "required"), [((), True), (("coder:demo",), False), (("a:s", "b:s"), True)])
def test_the_address_of_a_caller_is_required_unless_there_is_only_one(
    bridge: Serve, bound: tuple[str, ...], required: bool
) -> None:
    served = bridge(bound=bound)

    paths = served.get("/openapi.json").json()["paths"]

    [role, _] = paths["/inbox"]["get"]["parameters"]
    send = paths["/send"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert (role["name"], role["required"], "from" in send["required"]) == ("role", required, required)
    assert served.get("/inbox").status_code == (400 if required else 200)


def test_every_kind_of_error_is_in_the_document(bridge: Serve) -> None:
    error: dict[str, Any] = bridge().get("/openapi.json").json()["components"]["schemas"]["Error"]

    assert {entry.kind for entry in ERROR_CODES.values()} < set(error["properties"]["error"]["enum"])


def test_the_document_has_every_parameter_of_the_event_stream(bridge: Serve) -> None:
    served = bridge()

    described = served.get("/openapi.json").json()["paths"]["/events"]["get"]["parameters"]

    refusal = served.get("/events?colour=1").json()["detail"]
    assert refusal.endswith(f"use {', '.join(one['name'] for one in described)}")


def test_schemas_shows_those_of_registered_types(bridge: Serve) -> None:
    from pydantic import BaseModel, ConfigDict

    class Plan(BaseModel):
        step: int

    class Foreign(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        of: Callable[[], None]

    SchemaRegistry.register("plan", Plan)
    SchemaRegistry.register("foreign", Foreign)
    try:
        schemas = bridge().get("/schemas").json()
    finally:
        SchemaRegistry.unregister("plan")
        SchemaRegistry.unregister("foreign")

    assert schemas["types"] == {"plan": Plan.model_json_schema(), "foreign": {}}
    assert schemas["strict"] is False
    assert schemas["parameters"]["/ack"]["required"] == ["id"]
