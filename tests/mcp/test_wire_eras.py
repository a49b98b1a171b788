"""Both eras of the protocol: the handshake and its versions, and requests that carry their version themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raven import __version__
from tests.mcp.harness import LEGACY, MODERN, McpClient, McpError

LEGACY_VERSIONS = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]
_META = "io.modelcontextprotocol/"
VERSION, CAPABILITIES, SERVER = _META + "protocolVersion", _META + "clientCapabilities", _META + "serverInfo"
StartMcp = Callable[..., McpClient]


def meta(version: Any = MODERN, **more: Any) -> dict[str, Any]:
    return {"_meta": {VERSION: version, CAPABILITIES: {}, **more}}


@pytest.mark.parametrize("version", LEGACY_VERSIONS)
def test_the_handshake_agrees_on_the_version_of_the_client(start_mcp: StartMcp, version: str) -> None:
    client = start_mcp(begin=False)

    result = client.start(protocol=version)

    assert result["protocolVersion"] == version
    assert result["serverInfo"] == {"name": "raven", "version": __version__}
    assert result["capabilities"] == {"tools": {}}
    assert result["instructions"].startswith("raven carries messages")
    assert "resultType" not in result


@pytest.mark.parametrize("version", ["2099-01-01", MODERN, "", "1.0"])
def test_the_handshake_answers_an_unknown_version_with_the_newest_of_its_era(start_mcp: StartMcp, version: str) -> None:
    client = start_mcp(begin=False)

    assert client.start(protocol=version)["protocolVersion"] == LEGACY


@pytest.mark.parametrize("version", [None, 7, ["2025-11-25"], {}])
def test_a_version_that_is_no_string_is_refused(start_mcp: StartMcp, version: Any) -> None:
    client = start_mcp(begin=False)

    with pytest.raises(McpError, match=r"-32602: protocolVersion is .* it must be a string"):
        client.request("initialize", {"protocolVersion": version})


@pytest.mark.parametrize("info", [None, "me", [], {}, {"name": 7, "version": None}])
def test_a_client_that_does_not_say_who_it_is_is_served(start_mcp: StartMcp, info: Any) -> None:
    client = start_mcp(begin=False)

    client.request("initialize", {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": info})

    assert client.request("ping") == {}
    assert client.finish() == 0
    assert client.errors() == ""


def test_a_second_handshake_is_answered_as_the_first(start_mcp: StartMcp) -> None:
    client = start_mcp()

    assert client.start(protocol=LEGACY)["protocolVersion"] == LEGACY
    assert client.start(protocol="2024-11-05")["protocolVersion"] == "2024-11-05"


def test_the_modern_era_discovers_the_server_without_a_handshake(start_mcp: StartMcp) -> None:
    client = start_mcp(begin=False)

    result = client.start(modern=True)

    assert result["supportedVersions"] == [MODERN, *LEGACY_VERSIONS]
    assert result["capabilities"] == {"tools": {}}
    assert result["instructions"].startswith("raven carries messages")
    assert (result["resultType"], result["ttlMs"], result["cacheScope"]) == ("complete", 0, "private")
    assert result["_meta"] == {SERVER: {"name": "raven", "version": __version__}}


def test_a_modern_request_needs_no_discovery(start_mcp: StartMcp) -> None:
    client = start_mcp(begin=False)

    result = client.request("tools/list", meta())

    assert {tool["name"] for tool in result["tools"]} >= {"inbox"}
    assert (result["resultType"], result["cacheScope"]) == ("complete", "private")
    assert result["ttlMs"] > 0


def test_a_modern_call_has_the_envelope_of_its_era(start_mcp: StartMcp) -> None:
    client = start_mcp("--as", "a:s", modern=True)

    result = client.request("tools/call", {"name": "inbox", "arguments": {}})

    assert (result["resultType"], result["_meta"]) == ("complete", {SERVER: {"name": "raven", "version": __version__}})
    assert [content["type"] for content in result["content"]] == ["text"]
    assert "structuredContent" not in result


def test_a_legacy_list_has_nothing_of_the_modern_envelope(start_mcp: StartMcp) -> None:
    assert start_mcp().request("tools/list").keys() == {"tools"}


def test_both_eras_may_be_spoken_to_one_server(start_mcp: StartMcp) -> None:
    client = start_mcp()

    assert "resultType" in client.request("tools/list", meta())
    assert "resultType" not in client.request("tools/list")


@pytest.mark.parametrize("version", ["1900-01-01", "2027-01-01", LEGACY, "", 7, None, [1]])
@pytest.mark.parametrize("method", ["server/discover", "tools/list", "tools/call"])
def test_an_unknown_modern_version_is_refused_with_the_list_of_known_ones(
    start_mcp: StartMcp, version: Any, method: str
) -> None:
    client = start_mcp(begin=False)

    with pytest.raises(McpError, match="-32022: this server does not speak the protocol version") as refused:
        client.request(method, meta(version))

    assert refused.value.data["supported"] == [MODERN, *LEGACY_VERSIONS]
    assert isinstance(refused.value.data["requested"], str)


@pytest.mark.parametrize("capabilities", [None, [], "all"])
def test_a_modern_request_without_its_capabilities_is_refused(start_mcp: StartMcp, capabilities: Any) -> None:
    client = start_mcp(begin=False)

    with pytest.raises(McpError, match="-32602: _meta has no object"):
        client.request("tools/list", meta(**{CAPABILITIES: capabilities}))


def test_discovery_without_a_version_is_refused(start_mcp: StartMcp) -> None:
    client = start_mcp(begin=False)

    with pytest.raises(McpError, match="-32602: server/discover needs the fields of _meta"):
        client.request("server/discover")


def test_the_modern_era_has_no_ping(start_mcp: StartMcp) -> None:
    client = start_mcp(begin=False)

    with pytest.raises(McpError, match="-32601: there is no method 'ping'"):
        client.request("ping", meta())


def test_for_channels_the_server_speaks_the_legacy_era_only(start_mcp: StartMcp) -> None:
    client = start_mcp("--channel", begin=False)

    for params in (None, meta()):
        with pytest.raises(McpError, match="-32601: there is no method 'server/discover'"):
            client.request("server/discover", params)
    with pytest.raises(McpError, match="-32022") as refused:
        client.request("tools/list", meta())

    assert refused.value.data["supported"] == LEGACY_VERSIONS
    assert client.start()["capabilities"] == {"tools": {}, "experimental": {"claude/channel": {}}}
