"""MP4 files changed box by box: other times, the index in front."""

import struct

HOLDERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def boxes(content):
    """(kind, content) of boxes one after the other."""
    found, at = [], 0
    while at < len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        found.append((kind, content[at + 8 : at + size]))
        at += size
    return found


def joined(parts):
    return b"".join(struct.pack(">I4s", 8 + len(content), kind) + content for kind, content in parts)


def changed(content, wanted, change):
    """The boxes with `change` applied to the content of those of the kind `wanted`, however deep."""
    parts = []
    for kind, inner in boxes(content):
        if kind in HOLDERS:
            inner = changed(inner, wanted, change)
        parts.append((kind, change(inner) if kind == wanted else inner))
    return joined(parts)


def retimed(content, steps):
    """The film with other times: each frame lasts a multiple of what it lasted."""

    def times(inner):
        _, count, frames, step = struct.unpack(">IIII", inner[:16])
        assert count == 1 and frames == len(steps)
        return struct.pack(">II", 0, frames) + b"".join(struct.pack(">II", 1, step * n) for n in steps)

    assert boxes(content)[-1][0] == b"moov"  # nothing that others point at moves
    whole = changed(content, b"stts", times)
    return whole.replace(b"edts", b"free")  # which says that the film ends where it ended before


def index_first(content):
    """The film with its index before the pictures."""
    parts = dict(boxes(content))
    index = joined([(b"moov", parts[b"moov"])])

    def offsets(inner):
        count = struct.unpack(">I", inner[4:8])[0]
        places = struct.unpack(f">{count}I", inner[8:])
        return inner[:8] + struct.pack(f">{count}I", *(place + len(index) for place in places))

    index = changed(index, b"stco", offsets)
    kinds = [kind for kind in parts if kind != b"moov"]
    ahead = [kind for kind in kinds if kind == b"ftyp"]
    return (
        joined([(kind, parts[kind]) for kind in ahead]) + index + joined([(k, parts[k]) for k in kinds[len(ahead) :]])
    )
