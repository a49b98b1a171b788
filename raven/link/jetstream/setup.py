"""Setup: the commands and permissions with which hosts can use the link, though they may make no object themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from raven.link.jetstream import objects
from raven.link.settings import LinkSettings


def setup_commands(settings: LinkSettings, hosts: Iterable[str]) -> str:
    """Return what an administrator of NATS needs for the realm of the settings and these hosts.

    First the commands of the `nats` program that make the streams and a consumer for each host; then the
    permissions of each host, in the form of nats-server's configuration.
    """
    names = objects.Names(settings.realm, settings.name, settings.js_domain)
    replicas = settings.replicas or 1
    stream = objects.stream_config(names, replicas, settings.stream_bytes)
    lines = [
        f"# The streams of the realm {settings.realm}, with {replicas} of 1, 3 or 5 replicas: see link.replicas.",
        _command(names, f"STREAM.CREATE.{names.stream}", stream),
        _command(names, f"STREAM.CREATE.{names.card_stream}", objects.card_config(names, replicas)),
    ]
    for host in hosts:
        own = names._replace(host=host)
        consumer = {"stream_name": own.stream, "config": objects.consumer_config(own)}
        publish, subscribe = permissions(own)
        lines += [
            "",
            f"# The host {host}: its consumer, and the permissions of its user in the configuration of nats-server.",
            _command(names, f"CONSUMER.DURABLE.CREATE.{own.stream}.{host}", consumer),
            "permissions {",
            f"  publish {{ allow: {json.dumps(publish)} }}",
            f"  subscribe {{ allow: {json.dumps(subscribe)} }}",
            "}",
        ]
    return "\n".join(lines)


def permissions(names: objects.Names) -> tuple[list[str], list[str]]:
    """Return the subjects to which a host publishes, and those to which it subscribes; it needs no others."""
    host, api = names.host, names.api
    publish = [
        names.mail("*", host),
        names.sign("*", host),
        names.card(host),
        names.card(f"{host}.*"),
        f"{api}.STREAM.INFO.{names.stream}",
        f"{api}.STREAM.INFO.{names.card_stream}",
        f"{api}.STREAM.MSG.GET.{names.card_stream}",
        f"{api}.CONSUMER.INFO.{names.stream}.{host}",
        f"{api}.CONSUMER.MSG.NEXT.{names.stream}.{host}",
        f"$JS.ACK.{names.stream}.{host}.>",
    ]
    return publish, [f"_INBOX.{host}.>", names.sign(host, "*"), names.card(">")]


def _command(names: objects.Names, path: str, request: Any) -> str:
    return f"nats request '{names.api}.{path}' '{json.dumps(request)}'"
