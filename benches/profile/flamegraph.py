"""Draws stacks as a flame graph: an SVG without scripts, whose boxes tell more when pointed at."""
from __future__ import annotations

from xml.sax.saxutils import escape

from tables import kind, without_roots

WIDTH, ROW, MARGIN, TOP, BOTTOM = 1200, 15, 8, 34, 26
# A box narrower than this share of the whole is left out, with all above it.
LEAST = 0.0015
COLOURS = {"kernel": "#e0905c", "plangate": "#7fb77e", "runtime": "#7fa8d0", "memory": "#d98b9b", "library": "#d9c97c"}
WORDS = {"kernel": "kernel", "plangate": "Plangate", "runtime": "tokio", "memory": "allocator, memory",
         "library": "other libraries"}


class Box:
    """A frame with all that it called."""

    def __init__(self):
        self.count = 0
        self.above = {}

    def add(self, stack: tuple, count: int) -> None:
        self.count += count
        if stack:
            self.above.setdefault(stack[0], Box()).add(stack[1:], count)

    def height(self, least: float) -> int:
        return 1 + max((box.height(least) for box in self.above.values() if box.count >= least), default=0)


def draw(stacks: dict, title: str) -> str:
    """The graph. The root is at the bottom; what is wide took long, and what is beside each other is in no order of time."""
    root = Box()
    for stack, count in stacks.items():
        root.add(without_roots(stack), count)
    rows = root.height(root.count * LEAST)
    height = TOP + rows * ROW + BOTTOM
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="ui-monospace,Menlo,Consolas,monospace" font-size="10.5">',
        "<style>" + "".join(f".{name}{{fill:{colour}}}" for name, colour in COLOURS.items())
        + "rect{stroke:#fff;stroke-width:.5}text{fill:#222;pointer-events:none}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{WIDTH / 2:.0f}" y="20" text-anchor="middle" font-size="14">{escape(title)}</text>',
    ]
    scale = (WIDTH - 2 * MARGIN) / root.count
    _boxes(out, root, MARGIN, height - BOTTOM - ROW, scale, root.count, "a worker's thread")
    x = MARGIN
    for name, words in WORDS.items():
        out.append(f'<rect class="{name}" x="{x}" y="{height - 18}" width="11" height="11"/>'
                   f'<text x="{x + 16}" y="{height - 9}">{words}</text>')
        x += 40 + 7 * len(words)
    return "\n".join([*out, "</svg>", ""])


def _boxes(out: list, box: Box, x: float, y: float, scale: float, whole: int, name: str) -> None:
    width = box.count * scale
    shown = name.removeprefix("kernel:")
    room = int((width - 4) / 6.4)
    label = shown if len(shown) <= room else _short(shown, room)
    out.append(f'<g><title>{escape(shown)}: {box.count / whole:.1%}</title>'
               f'<rect class="{kind(name)}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 1}"/>'
               + (f'<text x="{x + 2:.1f}" y="{y + 10.5}">{escape(label)}</text>' if label else "") + "</g>")
    for above, one in sorted(box.above.items()):
        if one.count >= whole * LEAST:
            _boxes(out, one, x, y - ROW, scale, whole, above)
        x += one.count * scale


def _short(name: str, room: int) -> str:
    """The end of a path says more than its beginning."""
    parts = name.split("::")
    while len(parts) > 1 and len("::".join(parts)) > room:
        parts.pop(0)
    text = "::".join(parts)
    if len(text) <= room:
        return text
    return text[:room - 1] + "…" if room >= 4 else ""
