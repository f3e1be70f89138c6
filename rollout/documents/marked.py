"""Generated passages inside documents that people write: the part between two markers, and nothing else, is replaced.

In Markdown the markers are comments, `<!-- NAME:begin -->` and `<!-- NAME:end -->`, each on a line of its own.
"""


def replaced(document: str, name: str, passage: str) -> str:
    """`document` with the lines between the markers of `name` replaced by `passage`; the same again changes nothing.

    Raises ValueError unless both markers are there, once, in order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    lines = document.splitlines(keepends=True)
    plain = [line.strip() for line in lines]
    if plain.count(begin) != 1 or plain.count(end) != 1 or plain.index(begin) > plain.index(end):
        raise ValueError(f"expected the lines {begin!r} and {end!r}, each once and in this order")
    kept_before, kept_after = lines[: plain.index(begin) + 1], lines[plain.index(end) :]
    return "".join(kept_before) + "\n" + passage.strip("\n") + "\n\n" + "".join(kept_after)
