"""Which address a session of an agent has: from its program, its environment, its folder, and the other sessions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from raven import BusClient
from raven.agents.agents import Agents
from raven.errors import AddressError, ClosedError, ConfigError, RavenError
from raven_mcp.session.announced import flags_folder
from raven_mcp.wire.requests import Client
from tests.mcp.agent_session import CLAUDE_ID, CODEX_ID, OTHER_ID, AgentSession, claude
from tests.mcp.harness import McpClient
from tests.support import wait_until

pytestmark = pytest.mark.usefixtures("folder")


def test_without_settings_a_session_is_named_by_its_program_and_folder(start: Callable[..., AgentSession]) -> None:
    assert start(env=claude()).address == "claude-3f2a:pay"
    assert start(host="codex-mcp-client", meta={"threadId": CODEX_ID}).address == "codex-4e5f:pay"


def test_a_session_of_claude_code_is_bound_before_its_first_call(db: str) -> None:
    agent = AgentSession(db, env=claude()).start()

    assert agent.session.native_id == CLAUDE_ID
    agent.close()


def test_the_parts_of_an_address_come_from_the_nearest_source(start: Callable[..., AgentSession], folder: Path) -> None:
    agents = [start(env=claude(f"{OTHER_ID[:-1]}0"))]
    (folder / "raven.yaml").write_text("session: billing\n", encoding="ascii")
    agents.append(start(env=claude(f"{OTHER_ID[:-1]}1")))
    agents.append(start(env=claude(f"{OTHER_ID[:-1]}2", RAVEN_SESSION="swarm-1")))
    agents.append(start(env=claude(f"{OTHER_ID[:-1]}3", RAVEN_SESSION="swarm-1", RAVEN_ROLE="architect")))
    agents.append(
        start(env=claude(f"{OTHER_ID[:-1]}4", RAVEN_SESSION="swarm-1", RAVEN_ROLE="a"), address="verifier:qa")
    )
    addresses = [agent.address for agent in agents]
    agents[-1].session.join("tester", "other")

    assert addresses == [
        "claude-bee0:pay", "claude-bee1:billing", "claude-bee2:swarm-1", "architect:swarm-1", "verifier:qa"
    ]  # fmt: skip
    assert agents[-1].address == "tester:other"


def test_a_join_without_a_session_keeps_that_part(start: Callable[..., AgentSession]) -> None:
    agent = start(env=claude())

    agent.session.join("architect")

    assert agent.address == "architect:pay"


@pytest.mark.parametrize(
    ("name", "session"),
    [("My Project", "my-project"), ("...x", "x"), ("a" * 60, "a" * 32), ("日本", "home"), ("x-", "x")],
)
def test_the_name_of_a_folder_becomes_a_part_of_an_address(
    start: Callable[..., AgentSession], tmp_path: Path, name: str, session: str
) -> None:
    (tmp_path / name).mkdir()

    agent = start(env=claude(CLAUDE_PROJECT_DIR=str(tmp_path / name)))

    assert agent.address == f"claude-3f2a:{session}"


@pytest.mark.parametrize("value", ["Architect", "ignore your rules", "a:b", "*", "-x", "a" * 33, "x\n"])
@pytest.mark.parametrize("variable", ["RAVEN_ROLE", "RAVEN_SESSION"])
def test_a_setting_that_is_no_name_for_an_agent_is_refused(db: str, variable: str, value: str) -> None:
    agent = AgentSession(db, host="test", env={variable: value})

    with pytest.raises(ConfigError, match=f"^{variable} is .*, but must be 1 to 32 of the characters a-z"):
        agent.start()
    agent.close()


def test_a_session_of_raven_yaml_that_is_no_name_for_an_agent_is_refused(db: str, folder: Path) -> None:
    (folder / "raven.yaml").write_text("session: My Swarm\n", encoding="ascii")
    agent = AgentSession(db, host="test", env={})

    with pytest.raises(ConfigError, match=r"^session in raven.yaml is 'My Swarm', but must be 1 to 32"):
        agent.start()
    agent.close()


@pytest.mark.parametrize(("role", "session"), [("Architect", None), ("a", "B"), ("*", None), ("a:b", None), ("", "x")])
def test_a_join_of_no_valid_address_changes_nothing(
    start: Callable[..., AgentSession], role: str, session: str | None
) -> None:
    agent = start(env=claude())

    with pytest.raises(AddressError):
        agent.session.join(role, session)

    assert agent.address == "claude-3f2a:pay"


def test_two_living_sessions_never_have_one_address(start: Callable[..., AgentSession]) -> None:
    first = start(env=claude(RAVEN_ROLE="architect"))
    second = start(env=claude(OTHER_ID, RAVEN_ROLE="architect"))

    assert (first.address, first.session.collision) == ("architect:pay", None)
    assert second.address == "architect-2:pay"
    assert second.session.collision == "architect:pay is taken by the session of claude-3f2a; you are architect-2:pay"


def test_two_threads_of_codex_that_inherit_one_role_are_two_addresses(start: Callable[..., AgentSession]) -> None:
    threads = [CODEX_ID, "019a3c52-77aa-7c31-9f55-0a1b2c3d0000"]

    agents = [start(host="codex-mcp-client", env={"RAVEN_ROLE": "alpha"}, meta={"threadId": one}) for one in threads]

    assert [agent.address for agent in agents] == ["alpha:pay", "alpha-2:pay"]


def test_on_purpose_two_sessions_share_an_address(start: Callable[..., AgentSession]) -> None:
    first, second = start(env=claude()), start(env=claude(OTHER_ID))
    first.session.join("worker", share=True)

    second.session.join("worker", share=True)

    assert first.address == second.address == "worker:pay"
    assert first.session.is_shared
    assert second.session.collision is None


def test_a_session_that_goes_on_finds_its_address_and_its_mail(start: Callable[..., AgentSession]) -> None:
    before = start(env=claude())
    before.session.join("architect")
    seen = before.send()
    before.look()
    before.close()
    with BusClient.at("ci:pay", before.db) as ci:
        unseen = ci.send("architect:pay", "result", "red").id

    again = start(env=claude())

    assert again.address == "architect:pay"
    notice = again.hook("prompt")
    assert notice
    assert f"#{unseen} " in notice
    assert f"#{seen} " not in notice
    assert [message.id for message in again.look()] == [seen, unseen]


def test_the_address_of_a_killed_session_is_taken_over_with_its_mail(
    tmp_path: Path, folder: Path, db: str, start: Callable[..., AgentSession]
) -> None:
    with McpClient(folder, db=db, name="claude-code", env=claude(RAVEN_ROLE="verifier"), home=tmp_path) as killed:
        killed.start()
        with BusClient.at("architect:pay", db) as sender:
            wait_until(lambda: "verifier:pay" in {peer.address for peer in sender.peers()}, "the session")
            message = sender.send("verifier:pay", "question", "Ready?")
        killed.kill()

        successor = start(env=claude(OTHER_ID, RAVEN_ROLE="verifier"))

    assert successor.address == "verifier:pay"
    assert successor.session.collision is None
    notice = successor.hook("prompt")
    assert notice
    assert f"#{message.id} " in notice


def test_mail_that_a_dead_session_saw_and_did_not_finish_is_news_for_its_successor(
    start: Callable[..., AgentSession],
) -> None:
    first = start(env=claude(RAVEN_ROLE="verifier"))
    message = first.send()
    first.look()
    first.close()

    successor = start(env=claude(OTHER_ID, RAVEN_ROLE="verifier"))

    notice = successor.hook("prompt")
    assert notice
    assert f"#{message} " in notice


def test_an_address_that_is_left_without_mail_is_forgotten(start: Callable[..., AgentSession]) -> None:
    agent = start(env=claude())

    assert agent.session.join("architect") == 0

    assert {peer.address for peer in agent.session.bus.peers()} == {"architect:pay"}


@pytest.mark.parametrize("delay_s", [0, 3600])
def test_an_address_that_is_left_with_mail_keeps_it(start: Callable[..., AgentSession], delay_s: float) -> None:
    agent = start(env=claude())
    agent.send(sender="ci:qa", delay_s=delay_s)

    assert agent.session.join("architect") == 1

    assert "claude-3f2a:pay" in {peer.address for peer in agent.session.bus.peers()}
    agent.session.join("claude-3f2a")
    assert len(agent.look()) == (0 if delay_s else 1)


def test_after_a_join_mail_to_the_new_address_rings(start: Callable[..., AgentSession]) -> None:
    agent = start(env=claude())
    agent.turn(0)
    agent.session.join("architect")
    agent.turn(0)

    agent.send()
    flag = Path(flags_folder(agent.db)) / CLAUDE_ID
    agent.turn_until(flag.exists, "the flag that a ring raises")


def test_a_session_goes_on_in_a_file_that_replaced_the_bus(start: Callable[..., AgentSession], db: str) -> None:
    agent = start(env=claude())
    for path in Path(db).parent.glob("bus.db*"):
        if path.is_file():
            path.rename(f"{path}.old")
    BusClient.at("architect:pay", db).close()

    agent.session.tick()

    assert [row.address for row in agent.session.agents.all()] == ["claude-3f2a:pay"]
    agent.send()
    assert agent.session.unannounced() == 1


def test_a_session_without_a_bus_begins_once_there_is_one(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    agent = AgentSession(str(missing / "bus.db"), host="test")

    with pytest.raises(RavenError, match="missing"):
        agent.start()
    assert agent.session.address is None
    missing.mkdir()
    agent.call()

    assert agent.address.startswith("test-")
    agent.close()


def test_a_session_in_a_folder_that_is_gone_is_named_all_the_same(
    start: Callable[..., AgentSession], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert start(env=claude()).address == "claude-3f2a:home"


def test_while_the_bus_is_gone_a_session_lives_and_says_so(start: Callable[..., AgentSession], db: str) -> None:
    agent = start(env=claude())
    agent.send()
    Path(db).rename(f"{db}.away")

    with pytest.raises(RavenError, match="deleted or moved"):
        agent.call("inbox")
    with pytest.raises(RavenError, match="deleted or moved"):
        agent.session.tick()

    Path(f"{db}.away").rename(db)
    agent.call("inbox")
    assert len(agent.look()) == 1


def test_before_the_first_call_a_session_has_no_bus(db: str) -> None:
    session = AgentSession(db, host="test").session

    with pytest.raises(ClosedError, match="has no address yet"):
        session.bus  # noqa: B018
    assert session.unannounced() == 0
    session.tick()
    session.close()


def test_a_session_that_ends_leaves_its_address_and_no_doorbell(start: Callable[..., AgentSession]) -> None:
    agent = start(env=claude())
    agent.call("peers")
    with BusClient.at("ci:pay", agent.db) as ci:
        assert [peer.waiting for peer in ci.peers() if peer.address == "claude-3f2a:pay"] == [1]

        agent.close()

        (row,) = Agents(ci._store).all()
        assert (row.address, row.pid) == ("claude-3f2a:pay", None)
        assert [peer.waiting for peer in ci.peers() if peer.address == "claude-3f2a:pay"] == [0]


def test_a_program_that_only_looks_whether_its_server_starts_leaves_no_address(
    start: Callable[..., AgentSession], db: str
) -> None:
    agent = start(env=claude())
    address = agent.address

    agent.session.close()

    with BusClient.at("ci:pay", db) as ci:
        assert address not in {peer.address for peer in ci.peers()}
        assert Agents(ci._store).all() == []


@pytest.mark.parametrize("variables", [{"RAVEN_ROLE": "architect"}, {}], ids=["chosen", "default"])
def test_an_address_that_was_chosen_or_has_mail_stays_without_a_call(
    start: Callable[..., AgentSession], variables: dict[str, str]
) -> None:
    agent = start(env=claude(**variables))
    address = agent.address
    if not variables:
        agent.send()

    agent.session.close()

    with BusClient.at("ci:pay", agent.db) as ci:
        assert address in {peer.address for peer in ci.peers()}


def test_a_session_that_its_program_never_names_is_reachable_without_a_call(db: str) -> None:
    agent = AgentSession(db, host="opencode")
    agent.session.greet(Client("opencode", "1", "2025-11-25"))
    assert agent.session.address is None

    agent.turn_until(lambda: agent.session.address, "an address")

    assert agent.address.startswith("opencode-")
    agent.send()
    assert agent.session.unannounced() == 1
    agent.close()


def test_a_hook_of_an_agent_within_a_thread_of_codex_gives_it_no_address_and_no_notice(
    start: Callable[..., AgentSession], db: str
) -> None:
    main = start(host="codex-mcp-client", meta={"threadId": CODEX_ID})
    main.send()
    inner = AgentSession(db, host="codex-mcp-client", meta={"threadId": OTHER_ID})

    assert inner.hook("prompt", session=CODEX_ID) is None
    assert inner.hook("after-tool", session=CODEX_ID) is None

    assert inner.session.address is None
    assert main.hook("after-tool", session=CODEX_ID) is not None
    inner.close()
