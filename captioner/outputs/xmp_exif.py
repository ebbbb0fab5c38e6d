"""Reads and writes a photo's description, XMP's dc:description and EXIF's ImageDescription.

Only the container is rewritten: the segments of a JPEG (ITU T.81, B.1.1; for XMP ISO 16684-1 and
its part 3) or the chunks of a PNG (ISO 15948, 11; eXIf of 2017). Everything else in it, and the
compressed picture, is copied as it is.

Written by hand because the one maintained library that writes both, exiv2, is under the GPL.
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from xml.etree import ElementTree

from rnnkit.errors import UserError

Data = bytes | mmap.mmap
# Kind (exif, xmp or other), where it begins and ends in the file, and its content.
Block = tuple[str, int, int, bytes]

_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"  # how these segments of a JPEG begin
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_START_OF_SCAN, _APP0, _APP1 = 0xDA, 0xE0, 0xE1
_KEYWORD = b"XML:com.adobe.xmp\0"  # of the iTXt chunk of a PNG
_SEGMENT_LIMIT, _XMP_LIMIT = 65533, 1 << 24
_IMAGE_DESCRIPTION, _ASCII = 270, 2
# What XML 1.0 cannot hold, also escaped (its production Char).
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_RDF, _DC, _X = (
    "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}",
    "{http://purl.org/dc/elements/1.1/}",
    "{adobe:ns:meta/}",
)
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_PREFIXES = {"rdf": _RDF[1:-1], "dc": _DC[1:-1], "x": _X[1:-1]}


class EmbedError(UserError):
    """A photo into which no caption can be written, and why."""


def read_description(data: Data) -> str:
    """A photo's XMP description, or else its EXIF one; empty if it has none.

    Raises: EmbedError if it is neither JPEG nor PNG, or damaged.
    """
    exif, xmp = _metadata(_blocks(data))
    if xmp:
        item = _default_item(_parse_xmp(xmp)[1])
        if item is not None and item.text:
            return item.text.strip()
    return _exif_description(exif) if exif else ""


def with_description(data: Data, text: str) -> bytes:
    """The same photo with `text` as its description in XMP and in EXIF.

    Raises: EmbedError if it is neither JPEG nor PNG, is damaged, or has no room for it.
    """
    text = _NOT_XML.sub("", text)
    blocks = list(_blocks(data))
    exif, xmp = _metadata(blocks)
    exif, xmp = _with_exif(exif, text), _with_xmp(xmp, text)
    if data[:2] == _JPEG:
        if len(_EXIF + exif) > _SEGMENT_LIMIT or len(_XMP + xmp) > _SEGMENT_LIMIT:
            raise EmbedError("there is no room for a caption in its metadata")
        new = _segment(_EXIF + exif) + _segment(_XMP + xmp)
        first, after = len(_JPEG), data[3] == _APP0  # JFIF's own segment stays the first
    else:
        new = _chunk(b"eXIf", exif) + _chunk(b"iTXt", _KEYWORD + b"\0\0\0\0" + xmp)
        first, after = len(_PNG), True  # IHDR
    after = after and bool(blocks)
    parts = [data[:first]] + ([] if after else [new])
    for number, (kind, start, end, _) in enumerate(blocks):
        if kind == "other":
            parts.append(data[start:end])
        if number == 0 and after:
            parts.append(new)
    return b"".join([*parts, data[blocks[-1][2] if blocks else first :]])


# --- containers -----------------------------------------------------------------------------------


def _blocks(data: Data) -> Iterator[Block]:
    """The segments of a JPEG up to the picture, or all chunks of a PNG."""
    if data[:2] == _JPEG:
        yield from _segments(data)
    elif data[:8] == _PNG:
        yield from _chunks(data)
    else:
        raise EmbedError("a caption can be written into JPEG and PNG only")


def _segments(data: Data) -> Iterator[Block]:
    place = 2
    while True:
        head = data[place : place + 4]
        if len(head) < 4 or head[0] != 0xFF:
            raise EmbedError("damaged or cut short")
        if head[1] == _START_OF_SCAN:
            return
        if head[1] == 0xFF:  # a fill byte
            end, body = place + 1, b""
        elif head[1] == 0x01 or 0xD0 <= head[1] <= 0xD9:  # markers without a length
            end, body = place + 2, b""
        else:
            end = place + 2 + int.from_bytes(head[2:], "big")
            body = data[place + 4 : end] if head[1] == _APP1 else b""
        kind = "exif" if body.startswith(_EXIF) else "xmp" if body.startswith(_XMP) else "other"
        yield kind, place, end, body[len(_EXIF) if kind == "exif" else len(_XMP) :]
        place = end


def _chunks(data: Data) -> Iterator[Block]:
    place = len(_PNG)
    while True:
        head = data[place : place + 8]
        end = place + 12 + int.from_bytes(head[:4], "big")
        if len(head) < 8 or end > len(data):
            raise EmbedError("damaged or cut short")
        name = head[4:]
        body = data[place + 8 : end - 4] if name in (b"eXIf", b"iTXt") else b""
        if name == b"eXIf":
            yield "exif", place, end, body
        elif name == b"iTXt" and body.startswith(_KEYWORD):
            yield "xmp", place, end, _international_text(body)
        else:
            yield "other", place, end, b""
        if name == b"IEND":
            return
        place = end


def _international_text(body: bytes) -> bytes:
    """The text of an iTXt chunk: after the keyword come two flags, then a language and a translated
    keyword that end with zeros.
    """
    compressed = body[len(_KEYWORD) : len(_KEYWORD) + 1] == b"\1"
    text = body[len(_KEYWORD) + 2 :].split(b"\0", 2)[-1]
    if not compressed:
        return text
    try:
        return zlib.decompressobj().decompress(text, _XMP_LIMIT)
    except zlib.error:
        raise EmbedError("its XMP is damaged") from None


def _metadata(blocks: Iterator[Block] | list[Block]) -> tuple[bytes, bytes]:
    """EXIF (a TIFF file) and XMP (XML), empty if there is none."""
    first: dict[str, bytes] = {}
    for kind, _, _, body in blocks:
        first.setdefault(kind, body)
    return first.get("exif", b""), first.get("xmp", b"")


def _segment(body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, _APP1, len(body) + 2) + body


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


# --- EXIF: a TIFF file whose first directory has the entry ImageDescription -----------------------


def _directory(exif: bytes) -> tuple[str, int, list[bytes], bytes]:
    """Byte order for struct, place of the first directory, its entries of 12 bytes, and its pointer
    to the next directory.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4], "")
    try:
        (place,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, place)
    except struct.error:
        order = ""
    if not order or place + 2 + 12 * count + 4 > len(exif):
        raise EmbedError("its EXIF is damaged")
    start = place + 2
    return (
        order,
        place,
        [exif[start + 12 * n : start + 12 * (n + 1)] for n in range(count)],
        exif[start + 12 * count :][:4],
    )


def _description_place(order: str, start: int, entries: list[bytes]) -> tuple[int, int, int] | None:
    """Where the entry of the description is, where its text is, and the text's number of bytes; up
    to four are in the entry itself.
    """
    for number, entry in enumerate(entries):
        tag, kind, count, place = struct.unpack(f"{order}HHII", entry)
        if (tag, kind) == (_IMAGE_DESCRIPTION, _ASCII):
            here = start + 2 + 12 * number
            return here, place if count > 4 else here + 8, count
    return None


def _exif_description(exif: bytes) -> str:
    order, start, entries, _ = _directory(exif)
    description = _description_place(order, start, entries)
    if description is None:
        return ""
    _, place, count = description
    return exif[place : place + count].split(b"\0")[0].decode("utf-8", "replace").strip()


def _with_exif(exif: bytes, text: str) -> bytes:
    """EXIF with that description. Nothing else moves, because makers' notes hold offsets that only
    their maker knows.
    """
    exif = exif or b"II*\0" + struct.pack("<IHI", 8, 0, 0)
    value = text.encode() + b"\0"
    order, start, entries, following = _directory(exif)
    old = _description_place(order, start, entries)
    if old and 4 < len(value) <= old[2] and old[1] + old[2] <= len(exif):
        entry, place, count = old
        exif = exif[:place] + value.ljust(count, b"\0") + exif[place + count :]
        return exif[: entry + 4] + struct.pack(f"{order}I", len(value)) + exif[entry + 8 :]
    # A new first directory at the end, where there is room; the old one stays as unused bytes.
    exif += b"\0" * (len(exif) % 2)
    entries = [
        entry
        for entry in entries
        if struct.unpack_from(f"{order}H", entry)[0] != _IMAGE_DESCRIPTION
    ]
    after = len(exif) + 2 + 12 * (len(entries) + 1) + 4
    held = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(f"{order}I", after)
    entries.append(struct.pack(f"{order}HHI", _IMAGE_DESCRIPTION, _ASCII, len(value)) + held)
    entries.sort(key=lambda entry: struct.unpack_from(f"{order}H", entry)[0])
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + following
    return (
        exif[:4]
        + struct.pack(f"{order}I", len(exif))
        + exif[8:]
        + directory
        + (value if len(value) > 4 else b"")
    )


# --- XMP: RDF in XML, where dc:description is a text in several languages -------------------------


def _parse_xmp(xmp: bytes) -> tuple[ElementTree.Element, ElementTree.Element]:
    """The tree, and its first rdf:Description that has a dc:description, or else its first."""
    text = xmp.decode("utf-8", "replace").strip("\ufeff \t\r\n\0")
    try:
        if "<!DOCTYPE" in text:
            # XMP never has one, and it could make the parser load other files.
            raise EmbedError("its XMP is damaged")
        for prefix, address in re.findall(r"xmlns:([\w.-]+)\s*=\s*[\"']([^\"']+)", text):
            with suppress(ValueError):  # a prefix that ElementTree makes up itself
                ElementTree.register_namespace(prefix, address)
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError):
        raise EmbedError("its XMP is damaged") from None
    about = list(root.iter(f"{_RDF}Description"))
    if not about:
        raise EmbedError("its XMP is damaged")
    return root, next(
        (each for each in about if each.find(f"{_DC}description") is not None), about[0]
    )


def _default_item(about: ElementTree.Element) -> ElementTree.Element | None:
    """The rdf:li of the language x-default, or else the first."""
    items = about.findall(f"{_DC}description/{_RDF}Alt/{_RDF}li")
    return next(
        (item for item in items if item.get(_LANGUAGE) == "x-default"), items[0] if items else None
    )


def _with_xmp(xmp: bytes, text: str) -> bytes:
    for prefix, address in _PREFIXES.items():
        ElementTree.register_namespace(prefix, address)
    if xmp:
        root, about = _parse_xmp(xmp)
    else:
        root = ElementTree.Element(f"{_X}xmpmeta")
        about = ElementTree.SubElement(
            ElementTree.SubElement(root, f"{_RDF}RDF"), f"{_RDF}Description", {f"{_RDF}about": ""}
        )
    item = _default_item(about)
    if item is None:
        for old in about.findall(f"{_DC}description"):  # of a form that XMP does not know
            about.remove(old)
        about.attrib.pop(f"{_DC}description", None)
        alternatives = ElementTree.SubElement(
            ElementTree.SubElement(about, f"{_DC}description"), f"{_RDF}Alt"
        )
        item = ElementTree.SubElement(alternatives, f"{_RDF}li", {_LANGUAGE: "x-default"})
    item.text = text
    body = ElementTree.tostring(root, encoding="unicode")
    begin, end = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>', '<?xpacket end="w"?>'
    return f"{begin}{body}{end}".encode()
