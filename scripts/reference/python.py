"""docs/python.md: the public names of `raven`, `raven_rpc` and `raven_http`, from their signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, ForwardRef, get_args, get_origin

import raven
import raven_http
import raven_rpc
from raven import errors
from raven.cli.exit_codes import exit_code_of
from raven.model.new_message import OPTION_TYPES, OPTIONS
from scripts.reference.markdown import NOTE, anchor, escape, fenced, table

_FACES = {face.__name__: face for face in (raven, raven_rpc, raven_http)}
# The sections of the page, and the names in each; the errors have a section of their own.
_SECTIONS = {
    "Clients of the file": ("BusClient", "BusObserver", "BusTransaction"),
    "Client of the socket": ("Client", "Bus"),
    "Values": ("Message", "Receipt", "Peer", "Stats", "Pruned", "State", "Urgency", "Report"),
    "Schemas": ("SchemaRegistry",),
    "Run a server": ("serve", "Server"),
    "Serve over HTTP": ("create_app", "raven_http.serve"),
}
# The methods of a class, grouped by purpose.
_PURPOSES = {
    "Open and close": ("at", "address", "db_path", "register", "close"),
    "Send": ("send", "send_many", "reply", "request", "request_async"),
    "Receive": ("inbox", "read", "subscribe", "listen"),
    "Claim": ("claim", "ack", "nack", "extend"),
    "Transactions": ("transaction", "execute"),
    "Receipts": ("receipts", "wait_receipt", "wait_receipt_async", "recipients"),
    "Log": ("tail", "history", "thread", "last_id"),
    "Dead letters": ("dead", "requeue", "purge_dead"),
    "The whole bus": ("peers", "stats", "prune", "forget"),
}
_ALIASES: dict[Any, str] = {raven.State: "State", raven.Urgency: "Urgency", raven.Report: "Report"}
_WIDTH = 100


def render(current: str) -> str:
    """Return the page."""
    intro = (
        "Every public name, from its docstring. Import the names of the file from `raven`, and `Client`, `Server` and "
        "`serve` from `raven_rpc` (`pip install 'raven-bus[rpc]'`), and the names of the last section from "
        "`raven_http` (`pip install 'raven-bus[http]'`). All other modules are private: they may change in any "
        "release.\n"
    )
    parts = ["# Python API\n", NOTE, intro, _contents()]
    for title, names in _SECTIONS.items():
        parts.append(f"## {title}\n")
        for name in names:
            parts += _name(name)
        if "BusClient" in names:
            parts += _options()
    return "\n".join([*parts, *_errors()])


def _options() -> Iterator[str]:
    """Yield the table of the options of `send`."""
    yield "### Options of send\n"
    yield (
        "The keyword arguments of `send`, `reply` and `request`, and the keys of a dict of `send_many`. `reply` has no "
        "`reply_to`; `request` has no `expires_in_s`, `dedup_key` and `report`.\n"
    )
    rows = [
        (f"`{name}`", f"`{_annotation(OPTION_TYPES[name])}`", escape(option.description or ""))
        for name, option in OPTIONS.items()
    ]
    yield table(("Option", "Type", "Meaning"), rows)


def _get(name: str) -> Any:
    face, _, own = name.rpartition(".")
    home = _FACES[face] if face else next(face for face in _FACES.values() if name in face.__all__)
    return getattr(home, own)


def _errors_of() -> list[str]:
    return [name for name in raven.__all__ if inspect.isclass(_get(name)) and issubclass(_get(name), Exception)]


def _contents() -> str:
    rows = [
        (f"[{title}](#{anchor(title)})", ", ".join(f"[`{name}`](#{anchor(name)})" for name in names))
        for title, names in _SECTIONS.items()
    ]
    return table(("Section", "Names"), [*rows, ("[Errors](#errors)", f"`RavenError` and {len(_errors_of()) - 1} more")])


def _name(name: str) -> Iterator[str]:
    value = _get(name)
    yield f"### {name}\n"
    if get_origin(value) is not None:
        yield f"One of {', '.join(f'`{choice}`' for choice in get_args(value))}.\n"
    elif inspect.isclass(value):
        yield from _class(value)
    else:
        yield fenced("py", _signature(name, value))
        yield _docstring(value)


def _class(kind: type) -> Iterator[str]:
    names = list(inspect.get_annotations(kind)) if hasattr(kind, "_fields") or hasattr(kind, "__slots__") else []
    fields = [name for name in names if not name.startswith("_")]
    protocol = getattr(kind, "_is_protocol", False)
    if not fields and not protocol:
        yield fenced("py", _signature(f"class {kind.__name__}", kind.__init__, skip_self=True))
    yield _docstring(kind)
    if fields:
        types = inspect.get_annotations(kind)
        yield table(("Field", "Type"), [(f"`{name}`", f"`{_annotation(types[name])}`") for name in fields])
    methods = {name: value for name, value in vars(kind).items() if _is_public(name, value) and name not in fields}
    groups = _grouped(methods)
    if protocol:
        inherited = {name: value for base in kind.__mro__ for name, value in vars(base).items()}
        public = {name: value for name, value in inherited.items() if _is_public(name, value)}
        yield table(
            ("Purpose", "Methods"),
            [(purpose, ", ".join(f"`{name}`" for name in names)) for purpose, names in _grouped(public).items()],
        )
        return
    if len(groups) > 1:
        yield table(
            ("Purpose", "Methods"),
            [
                (purpose, ", ".join(f"[`{name}`](#{anchor(f'{kind.__name__}.{name}')})" for name in names))
                for purpose, names in groups.items()
            ],
        )
    for base in kind.__mro__[1:]:
        inherited_names = [name for name, value in vars(base).items() if _is_public(name, value)]
        if base.__name__ in raven.__all__ and (rest := [name for name in inherited_names if name not in methods]):
            links = ", ".join(f"[`{name}`](#{anchor(f'{base.__name__}.{name}')})" for name in rest)
            yield f"Inherited from [`{base.__name__}`](#{anchor(base.__name__)}): {links}.\n"
    for names in groups.values():
        for name in names:
            yield f"#### {kind.__name__}.{name}\n"
            yield from _member(name, methods[name])


def _is_public(name: str, value: object) -> bool:
    kinds = (property, classmethod, staticmethod)
    return not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, kinds))


def _grouped(methods: dict[str, Any]) -> dict[str, list[str]]:
    groups = {purpose: [name for name in names if name in methods] for purpose, names in _PURPOSES.items()}
    rest = [name for name in methods if not any(name in names for names in _PURPOSES.values())]
    return {purpose: names for purpose, names in {**groups, "Other": rest}.items() if names}


def _member(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, property):
        yield f"Property. {_docstring(value)}"
        return
    function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
    prefix = "async " if inspect.iscoroutinefunction(function) else ""
    yield fenced("py", prefix + _signature(name, function, skip_self=not isinstance(value, staticmethod)))
    yield _docstring(function)


def _signature(name: str, function: Any, *, skip_self: bool = False) -> str:
    """Return a signature as in the source: on one line if it fits, else one parameter per line."""
    signature = inspect.signature(function)
    parameters: list[str] = []
    keyword_only = False
    for parameter in list(signature.parameters.values())[1 if skip_self else 0 :]:
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            if not any(text.startswith("*") for text in parameters):
                parameters.append("*")
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        text = f"{stars}{parameter.name}"
        if parameter.annotation is not parameter.empty:
            text += f": {_annotation(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            shown = "..." if type(parameter.default) is object else repr(parameter.default)  # a mark has an address
            text += f" = {shown}"
        parameters.append(text)
    returns = signature.return_annotation
    result = "" if returns in (signature.empty, None, "None") else f" -> {_annotation(returns)}"
    line = f"{name}({', '.join(parameters)}){result}"
    if len(line) <= _WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {text},\n" for text in parameters) + f"){result}"


def _annotation(annotation: Any) -> str:
    """Return an annotation as in the source, the same in all versions of Python."""
    if isinstance(annotation, ForwardRef):
        return annotation.__forward_arg__
    if not isinstance(annotation, str):
        for alias, name in _ALIASES.items():
            if annotation in (alias, alias | None):
                return name if annotation == alias else f"{name} | None"
        annotation = inspect.formatannotation(annotation)
    return re.sub(r"\b(?:typing|collections\.abc|datetime)\.(?=\w)", "", annotation)


def _docstring(value: Any) -> str:
    """Return a docstring as Markdown: paragraphs on one line each, sessions and literal blocks fenced."""
    parts = re.split(r"\n\s*\n", inspect.cleandoc(value.__doc__ or ""))
    return "\n".join(_block(part) for part in parts)


def _block(text: str) -> str:
    if text.startswith(">>> "):
        return fenced("pycon", text)
    if text.startswith("    "):
        return fenced("text", inspect.cleandoc(text))
    return f"{escape(' '.join(text.split()))}\n"


def _errors() -> Iterator[str]:
    yield "## Errors\n"
    yield "Each message says what is wrong, with the value, and what to do about it.\n"
    tree = re.search(r"^ +RavenError\n.*?(?=\n\n)", errors.__doc__ or "", re.DOTALL | re.MULTILINE)
    assert tree
    yield fenced("text", inspect.cleandoc(tree[0]))
    rows = []
    for name in _errors_of():
        kind = _get(name)
        retryable = "yes" if kind.retryable else "no"
        rows.append((f"`{name}`", _summary(kind), retryable, str(exit_code_of(kind("")))))
    yield table(("Error", "Meaning", "Retryable", "Exit code"), rows)


def _summary(kind: type) -> str:
    return escape(" ".join(re.split(r"\n\s*\n", inspect.cleandoc(kind.__doc__ or ""))[0].split()))


assert {name.rpartition(".")[2] for names in _SECTIONS.values() for name in names} | {*_errors_of(), "__version__"} == {
    name for face in _FACES.values() for name in face.__all__
}
