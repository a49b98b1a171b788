"""Settings of the link: options, environment, raven.yaml, default, in this order; an error names the wrong value."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from raven import ConfigError
from raven.config import Config
from raven.config import load as load_config
from raven.link.settings import LinkSettings, load, without_user

URL = "nats://hub:4222"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the link's settings from the environment."""
    for name in ("RAVEN_LINK_URL", "RAVEN_LINK_CREDS", "RAVEN_DB"):
        monkeypatch.delenv(name, raising=False)


def config(**link: Any) -> Config:
    return Config("bus.db", "a test", link=link)


def test_without_other_settings_the_host_name_and_the_defaults_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Build_Box.7.example.org")

    assert load(config(url="hub")) == LinkSettings("build-box", (URL,))


@pytest.mark.parametrize("hostname", ["", "localhost", "localhost.localdomain", "___", "家"])
def test_a_host_name_that_tells_hosts_not_apart_is_refused(monkeypatch: pytest.MonkeyPatch, hostname: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: hostname)

    with pytest.raises(ConfigError, match=r"names no host: use --name, or link\.name in raven\.yaml"):
        load(config(url=URL))


def test_an_option_comes_before_the_environment_and_that_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("file.creds", "env.creds", "option.nkey"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raven.yaml").write_text(
        "{db: bus.db, link: {url: [file:1, 'tls://second'], name: a, creds: file.creds, realm: null, window: 7}}"
    )
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    in_file = load_config()

    settings = load(in_file, {"name": None})
    assert settings.urls == ("nats://file:1", "tls://second:4222")
    assert (settings.name, settings.realm, settings.window) == ("a", "main", 7)
    assert (settings.creds, settings.nkey) == (str(tmp_path / "file.creds"), None)

    monkeypatch.setenv("RAVEN_LINK_URL", "env:2 , env:3")
    monkeypatch.setenv("RAVEN_LINK_CREDS", "../env.creds")
    settings = load(in_file)
    assert (settings.urls, settings.creds) == (("nats://env:2", "nats://env:3"), str(tmp_path / "env.creds"))

    settings = load(in_file, {"url": "option:4", "name": "b", "nkey": "../option.nkey"})
    assert (settings.urls, settings.name) == (("nats://option:4",), "b")
    assert (settings.creds, settings.nkey) == (None, str(tmp_path / "option.nkey"))


def test_every_key_is_taken_as_it_is_written(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key", "creds"):
        (tmp_path / name).touch()
    files = {"tls_ca": "ca", "tls_cert": "cert", "tls_key": "key", "creds": "creds"}
    others = {"realm": "lab-1", "js_domain": "edge_1", "window": 1, "window_bytes": 65536, "durability": "normal"}
    settings = load(
        config(
            name="x",
            url=["tls://[::1]:4443/", URL],
            sessions=["swarm-*", "b", "b"],
            accept={"beta": ["*:swarm-*"], "gamma": "a:b"},
            replicas=3,
            stream_bytes=1 << 20,
            **{key: str(tmp_path / name) for key, name in files.items()},
            **others,
        )
    )

    assert settings.urls == ("tls://[::1]:4443", URL)
    assert settings.sessions == ("swarm-*", "b")
    assert settings.accept == {"beta": ("*:swarm-*",), "gamma": ("a:b",)}
    assert {key: getattr(settings, key) for key in files} == {key: str(tmp_path / name) for key, name in files.items()}
    assert {key: getattr(settings, key) for key in others} == others
    assert (settings.replicas, settings.stream_bytes) == (3, 1 << 20)


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ({"url": value}, "nats://HOST:PORT or tls://HOST:PORT")
        for value in (
            "", " ", 5, {}, [], [URL, 5], [URL] * 65, "http://hub", "nats://", "nats://:4222", "hub:0", "hub:65536",
            "hub:x", "hub/path", "hub?x=1", "hub#x", "a b", "hu\nb", "[::1", "hub,,hub",
        )
    ]
    + [
        ({key: value}, "1 to 40 of a-z, 0-9 and -")
        for key in ("name", "realm")
        for value in ("", "A", "a.b", "a_b", "ä", "a" * 41, "a\n", 7, ["a"])
    ]
    + [
        ({"sessions": value}, r"a list of sessions, as \['swarm-\*'\]")
        for value in ("", [], [""], "a:b", [" a"], ["a\n"], ["a" * 513], 5, {"a": 1}, ["a", None])
    ]
    + [
        ({"accept": value}, "hosts with the senders that each may name")
        for value in (5, [], "b", {"B": "*:a"}, {"b": []}, {"beta": "a"}, {"b": "a:b:c"}, {"b": ":"}, {5: "a:b"})
    ]
    + [
        ({key: value}, "the path of a file that this user can read")
        for key in ("creds", "nkey", "tls_ca", "tls_cert", "tls_key")
        for value in ("", "/nowhere/at/all", "/", "a\0b", 5, ["x"])
    ]
    + [({"js_domain": value}, "the name of a JetStream domain") for value in ("", "a.b", "a b", "*", "a" * 65, 5)]
    + [
        ({key: value}, "a number of|normal or full")
        for key in ("window", "window_bytes", "replicas", "stream_bytes", "durability")
        for value in (0, -1, 1 << 60, 1.5, True, "1", [])
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_its_source_itself_and_the_remedy(link: dict[str, Any], told: str) -> None:
    (key,) = link

    with pytest.raises(ConfigError, match=rf"^raven.yaml: link\.{key} is .*, but must be (?:{told})"):
        load(config(**{"name": "a", "url": URL, **link}))


@pytest.mark.parametrize(
    ("link", "options", "told"),
    [
        ({}, {}, "no NATS server is named: use `raven link nats://HOST:4222`, RAVEN_LINK_URL, or `link: {url: ...}`"),
        ({"nam": "a"}, {}, "raven.yaml: link: the key 'nam' is not known: use url, name, realm, "),
        ({5: "a"}, {}, "raven.yaml: link: the key 5 is not known: use url, "),
        ({"url": URL}, {"js_domain": "a b"}, "--js-domain is 'a b', but must be "),
        ({}, {"url": "http://hub"}, "URL is 'http://hub', but must be nats://HOST:PORT"),
        ({"url": URL, "creds": __file__, "nkey": __file__}, {}, "are both set: use one of the two"),
        ({"url": URL, "tls_key": __file__}, {}, "link.tls_key is set, but link.tls_cert is not: set both or neither"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(
    link: dict[Any, Any], options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Config("bus.db", "a test", link=link), options)

    assert told in str(caught.value)


def test_a_variable_with_a_bad_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAVEN_LINK_CREDS", "/nowhere/at/all")

    with pytest.raises(ConfigError, match="the environment variable RAVEN_LINK_CREDS is '/nowhere/at/all'"):
        load(config(url=URL))


def test_a_value_of_link_that_is_no_mapping_is_refused_by_file_and_key(tmp_path: Path) -> None:
    (tmp_path / "raven.yaml").write_text("link: nats://hub")

    with pytest.raises(ConfigError, match=r"raven\.yaml: link is 'nats://hub', but must be settings of `raven link`"):
        load_config("bus.db", str(tmp_path))


@pytest.mark.parametrize(
    "url", ["nats://me:secret@hub:0", "me:secret@hub:0", "nats://me:sec/ret@hub", "x://me:s@ecret@h"]
)
def test_no_message_shows_the_password_of_a_url(url: str) -> None:
    for value in (url, [URL, url], f"{URL},{url}"):
        with pytest.raises(ConfigError) as caught:
            load(config(name="a", url=value))

        assert "secret" not in str(caught.value)
        assert "ret@" not in str(caught.value)


def test_the_servers_are_shown_without_users_and_the_urls_keep_them() -> None:
    settings = load(config(name="a", url="nats://me:secret@hub,tls://other"))

    assert settings.urls == ("nats://me:secret@hub:4222", "tls://other:4222")
    assert settings.servers == "nats://hub:4222, tls://other:4222"
    assert without_user("hub") == "hub"
