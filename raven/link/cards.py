"""Cards: what each host of a realm tells all others: its addresses, and the frames of theirs that it has committed."""

# Without `from __future__ import annotations`: a NamedTuple would compile the text of each type when it is made.

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from itertools import islice
from json.encoder import encode_basestring
from typing import NamedTuple
from zlib import crc32

from raven.errors import AddressError
from raven.exchange.values import Confirmation, Home
from raven.link.envelope import ROOM, parse_json
from raven.link.pages import LARGEST, MAX_PAGES, Head, Page
from raven.link.settings import is_name
from raven.model.address import is_private, parse_address
from raven.model.version import __version__

WIRE_VERSION = 1
# A host is alive if its card came within this time.
FRESH_S = 20.0
# The least time from one card to the next, and that for each byte: a long card is told less often.
_PAUSE_S, _PAUSE_S_PER_BYTE = 0.25, 1 / (256 << 10)
# Times are told in steps of so many seconds, for otherwise every message would make a card.
_STEP_S = 5
_MAX_CARD_BYTES = 8 << 20
# The addresses of one host that its card shows to others, and that others take from it.
MAX_ADDRESSES = 50_000
_PAGE_BYTES = 64  # of a page without addresses, at most
_US = 1_000_000


class Card(NamedTuple):
    """The card of a host as it is known here; `at_home` has the times of the server's clock, in steps of 5 s.

    `version` is the highest version of the wire that both hosts speak. `heard_at` is a time of time.monotonic. A host
    that is leaving has stopped its relay. `run` marks one run of a relay.
    """

    host: str
    bus_id: str
    version: int
    raven: str
    at_home: Mapping[str, Home]
    received: Mapping[str, Confirmation]
    is_leaving: bool
    heard_at: float
    run: str = ""

    def is_fresh(self, now: float) -> bool:
        """Whether the host is alive: its card came within the last 20 s, and was not its last one."""
        return not self.is_leaving and now - self.heard_at <= FRESH_S

    def local_home(self, offset_us: int) -> dict[str, Home]:
        """Return the addresses with times of this host's clock, which the server's is ahead of by so much."""
        return {address: one._replace(seen=one.seen - offset_us) for address, one in self.at_home.items()}


class Written(NamedTuple):
    """A card to put: its values by key, in the order in which they must be put, and the time until the next one.

    `left_out` counts the addresses that did not fit, of which no loop waits or the last use is the longest ago.
    """

    pages: dict[str, bytes]
    left_out: int

    @property
    def pause_s(self) -> float:
        """The least time from this card to the next one that tells something new, in seconds: at most 5."""
        return min(max(_PAUSE_S, _PAUSE_S_PER_BYTE * sum(map(len, self.pages.values()))), _STEP_S)


def rounded(home: Mapping[str, Home], offset_us: int) -> dict[str, Home]:
    """Return the addresses of this host as its card tells them.

    Times are changed to the server's clock, `offset_us` ahead of this host's, in steps of 5 s. Deliveries that the
    waiting loops can take at once do not count as pending, and others have three significant bits.
    """
    return {
        address: Home(
            max(0, (one.seen + offset_us) // (_STEP_S * _US) * (_STEP_S * _US)),
            one.waiting,
            0 if one.pending <= one.waiting else _coarse(one.pending),
            one.used,
        )
        for address, one in home.items()
    }


def write(
    host: str,
    bus_id: str,
    home: Mapping[str, Home],
    received: Mapping[str, Confirmation],
    max_payload: int,
    *,
    run: str = "",
    is_leaving: bool = False,
) -> Written:
    """Return the card of this host, with the addresses that `rounded` has returned.

    A card that is longer than the server takes has its addresses on further pages, under `HOST.1` and so on. A
    session has one page for its addresses, unless they are too many. A relay that ends tells that it is leaving. `run`
    marks this run of the relay.
    """
    room = max_payload - ROOM
    head = {
        "v": WIRE_VERSION,
        "bus": bus_id,
        **({"run": run} if run else {}),
        "raven": __version__,
        "received": received,
        **({"leaving": True} if is_leaving else {}),
    }
    if is_leaving:
        home = {address: one._replace(waiting=0) for address, one in home.items()}
    texts = {address: _text(address, one) for address, one in home.items()}
    whole = _with_home(head, texts.values())
    if len(whole) <= room and len(home) <= MAX_ADDRESSES:
        return Written({host: whole}, 0)
    kept = _most_used(home, texts, room * MAX_PAGES * 3 // 4)
    pages = [_with_home({}, page) for page in _paged(kept, room)]
    numbered = {f"{host}.{number}": page for number, page in enumerate(pages, 1)}
    numbered[host] = _encode({**head, "pages": [_digest(page) for page in pages]})
    return Written(numbered, len(home) - len(kept))


class Cards:
    """The last card of each host that was heard of. A fault in one is counted in `dropped`, and raises no error.

    `own` is the last card under this host's own name: of this bus, or of another one that has taken the name.
    """

    def __init__(self, host: str) -> None:
        self.hosts: dict[str, Card] = {}
        self.own: Card | None = None
        self.dropped: Counter[str] = Counter()
        self._host = host
        self._heads: dict[str, Head] = {}
        self._pages: dict[str, dict[int, tuple[str, dict[str, Home]]]] = {}

    def hear(self, key: str, data: bytes | None, now: float, age_s: float = 0.0) -> Card | None:
        """Take the value of a key, which was put `age_s` seconds ago; return the host's card as it is known now.

        `data` is None for a key that was deleted. A card whose pages have not all come keeps its former addresses.
        `at_home` stays the same object until an address changes. Returns None if the value says nothing new.
        """
        host, dot, number = key.partition(".")
        if not is_name(host) or (dot and number not in _NUMBERS):
            self.dropped["a key of no host"] += 1
            return None
        if data is None:
            if not number:
                self._forget(host)
            return None
        try:
            page = self._read(data, Page if number else Head)
        except ValueError as error:
            self.dropped[str(error)] += 1
            return None
        if isinstance(page, Head):
            return self._hear_head(host, page, now - age_s)
        known = self._card_of(host)
        self._pages.setdefault(host, {})[int(number)] = (_digest(data), self._homes(page, known))
        if known is None or host not in self._heads:
            return None
        return self._keep(known._replace(at_home=self._addresses(host, known)))

    def incomplete(self) -> set[str]:
        """Return the hosts of whose card a page is missing: if it stays so, the bucket must be read again."""
        return {host for host in self._heads if not self._is_complete(host)}

    def clash(self, card: Card, bus_id: str, run: str) -> str | None:
        """Return how a card contradicts that this host runs one relay of one bus, with the remedy; None if it does not.

        `bus_id` and `run` name this relay. If the card was put just now, the other relay runs.
        """
        is_own_name, is_own_bus = card.host == self._host, card.bus_id == bus_id
        if card.is_leaving or (is_own_bus and is_own_name and card.run == run):
            return None
        if is_own_bus:
            where = "another relay" if is_own_name else f"the host {card.host}"
            return f"{where} links a copy of this bus now: stop the relay there, or remove that copy"
        if is_own_name:
            return f"another bus is linked as {self._host} now: choose another link.name for one of the two"
        return None

    def _read(self, data: bytes, kind: type[Page] | type[Head]) -> Page | Head:
        """Return a checked page; raises ValueError with the reason by which it is counted."""
        if len(data) > _MAX_CARD_BYTES:
            raise ValueError("a card too long")
        try:
            return kind.of(parse_json(data))
        except ValueError:
            raise ValueError("a malformed card") from None

    def _hear_head(self, host: str, head: Head, heard_at: float) -> Card | None:
        known = self._card_of(host)
        if known is not None and heard_at < known.heard_at:
            return None  # it was read before the card that is known was put
        self._heads[host] = head
        if known is not None and known.bus_id != head.bus:
            known = None
        card = Card(
            host,
            head.bus,
            min(WIRE_VERSION, head.version),
            head.raven,
            known.at_home if known else {},
            {name: Confirmation(*numbers[:3]) for name, numbers in head.received.items() if is_name(name)},
            head.leaving,
            heard_at,
            head.run,
        )
        pages = self._pages.get(host, {})
        for number in pages.keys() - range(1, len(head.pages) + 1):
            del pages[number]
        return self._keep(card._replace(at_home=self._addresses(host, card)))

    def _addresses(self, host: str, card: Card) -> Mapping[str, Home]:
        """Return the addresses of all pages; if a page is missing, the addresses of the known card."""
        if not self._is_complete(host):
            return card.at_home
        addresses = self._homes(self._heads[host], card)
        pages = self._pages.get(host, {})
        for number in range(1, len(self._heads[host].pages) + 1):
            addresses.update(pages[number][1])
        return self._capped(addresses)

    def _is_complete(self, host: str) -> bool:
        pages = self._pages.get(host, {})
        return all(pages.get(number, ("",))[0] == digest for number, digest in enumerate(self._heads[host].pages, 1))

    def _homes(self, page: Page | Head, known: Card | None) -> dict[str, Home]:
        """Return the addresses of a page; an address that no host may show is counted."""
        checked = known.at_home if known else {}
        homes = {}
        for address, (seen_s, waiting, pending, used, *_) in page.at_home.items():
            if address in checked or self._may_be_shown(address):
                homes[address] = Home(min(seen_s, LARGEST // _US) * _US, waiting, pending, bool(used))
        return self._capped(homes)

    def _capped(self, homes: dict[str, Home]) -> dict[str, Home]:
        """Return the first 50,000 addresses, and count the others."""
        if len(homes) <= MAX_ADDRESSES:
            return homes
        self.dropped["an address too many"] += len(homes) - MAX_ADDRESSES
        return dict(islice(homes.items(), MAX_ADDRESSES))

    def _may_be_shown(self, address: str) -> bool:
        try:
            parse_address(address)
        except AddressError:
            self.dropped["a malformed address"] += 1
            return False
        if is_private(address):
            self.dropped["a private address"] += 1
            return False
        return True

    def _card_of(self, host: str) -> Card | None:
        return self.own if host == self._host else self.hosts.get(host)

    def _keep(self, card: Card) -> Card:
        known = self._card_of(card.host)
        if known is not None and known.at_home == card.at_home:
            card = card._replace(at_home=known.at_home)
        if card.host == self._host:
            self.own = card
        else:
            self.hosts[card.host] = card
        return card

    def _forget(self, host: str) -> None:
        self._heads.pop(host, None)
        self._pages.pop(host, None)
        self.hosts.pop(host, None)
        if host == self._host:
            self.own = None


_NUMBERS = frozenset(map(str, range(1, MAX_PAGES + 1)))
_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def _encode(value: object) -> bytes:
    return _encoder.encode(value).encode()


def _digest(page: bytes) -> str:
    return blake2b(page, digest_size=8).hexdigest()


def _text(address: str, one: Home) -> str:
    return f"{encode_basestring(address)}:[{one.seen // _US},{one.waiting},{one.pending},{int(one.used)}]"


def _with_home(head: Mapping[str, object], texts: Iterable[str]) -> bytes:
    """Return a page with the texts of its addresses."""
    comma = "," if head else ""
    return f'{_encoder.encode(head)[:-1]}{comma}"at_home":{{{",".join(texts)}}}}}'.encode()


def _coarse(number: int) -> int:
    """Return a number of three significant bits that is at most `number`."""
    shift = max(0, number.bit_length() - 3)
    return number >> shift << shift


def _size(text: str) -> int:
    return (len(text) if text.isascii() else len(text.encode())) + 1


def _most_used(home: Mapping[str, Home], texts: Mapping[str, str], room: int) -> dict[str, str]:
    """Return the texts of addresses that fit: first with a loop that waits, then by their last use."""
    if sum(map(_size, texts.values())) <= room and len(texts) <= MAX_ADDRESSES:
        return dict(texts)
    kept: dict[str, str] = {}
    for address, _ in sorted(home.items(), key=lambda item: (item[1].waiting > 0, item[1].used, item[1].seen))[::-1]:
        room -= _size(texts[address])
        if room < 0 or len(kept) == MAX_ADDRESSES:
            break
        kept[address] = texts[address]
    return kept


def _paged(texts: Mapping[str, str], room: int) -> list[list[str]]:
    """Return the texts of addresses in pages, of which each holds whole sessions, if they fit.

    So a session keeps its page while the number of pages stays the same, and its changes leave other pages as they are.
    """
    places = [(crc32(address.partition(":")[2].encode()), text, _size(text)) for address, text in texts.items()]
    for count in (1, 2, 4, 8, MAX_PAGES):
        pages: list[list[str]] = [[] for _ in range(count)]
        rooms = [room - _PAGE_BYTES] * count
        for place, text, size in places:
            pages[place % count].append(text)
            rooms[place % count] -= size
        if min(rooms) >= 0:
            return pages
    pages, left = [[]], room - _PAGE_BYTES
    for text in sorted(texts.values()):
        if left < _size(text):
            pages.append([])
            left = room - _PAGE_BYTES
        pages[-1].append(text)
        left -= _size(text)
    return pages
