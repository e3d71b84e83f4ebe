"""The chart beside the tables: bars of CPU time per request, by hand, as SVG."""

from typing import List, NamedTuple, Tuple
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, BAR, GAP, HEAD = 860, 150, 110, 17, 7, 46
OURS, FLOOR, OTHERS = "#0b7285", "#868e96", "#ced4da"


class Panel(NamedTuple):
    title: str
    bars: List[Tuple[str, float]]  # server, µs; the shortest first


def colour(name: str) -> str:
    return OURS if name == "hostler" else FLOOR if name.startswith("C ") else OTHERS


def figure(value: float) -> str:
    return "%.1f" % value if value < 100 else "%.0f" % value


def bars(panel: Panel, top: int) -> List[str]:
    """A panel's lines of SVG. A bar over five times the median is cut, and says so, lest it dwarf the rest."""
    values = sorted(value for _, value in panel.bars)
    full = min(values[-1], 5 * values[len(values) // 2]) or 1.0
    room = WIDTH - LEFT - RIGHT
    out = ['<text x="0" y="%d" class="title">%s</text>' % (top + 18, escape(panel.title))]
    for i, (name, value) in enumerate(panel.bars):
        y = top + 30 + i * (BAR + GAP)
        cut = value > full
        length = max(1.0, min(value, full) / full * room)
        kind = ' class="ours"' if name == "hostler" else ""
        out.append('<text x="%d" y="%d" text-anchor="end"%s>%s</text>' % (LEFT - 8, y + 13, kind, escape(name)))
        out.append('<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>' % (LEFT, y, length, BAR, colour(name)))
        if cut:
            x = LEFT + length - 22
            out.append('<path d="M%.1f %d l6 %d h5 l-6 %d z" fill="#fff"/>' % (x, y + BAR, -BAR, BAR))
        out.append('<text x="%.1f" y="%d"%s>%s</text>' % (LEFT + length + 6, y + 13, kind, figure(value) + (" (bar cut)" if cut else "")))
    return out


def render(panels: List[Panel], subtitle: str) -> str:
    panels = [panel for panel in panels if panel.bars]
    lines: List[str] = []
    top = HEAD
    for panel in panels:
        lines += bars(panel, top)
        top += 30 + len(panel.bars) * (BAR + GAP) + 16
    style = ("text{font:13px system-ui,'DejaVu Sans',sans-serif;fill:#343a40}"
             ".title{font-size:15px;font-weight:600}.ours{font-weight:700;fill:#0b7285}.sub{fill:#868e96}")  # fmt: skip
    return "\n".join([
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-12 0 %d %d" width="%d" height="%d" role="img">' % (WIDTH + 24, top, WIDTH + 24, top),
        "<title>Server CPU time per request</title>",
        "<style>%s</style>" % style,
        '<rect x="-12" y="0" width="%d" height="%d" fill="#fff"/>' % (WIDTH + 24, top),
        '<text x="0" y="22" class="title">Server CPU per request, µs: shorter is better</text>',
        '<text x="0" y="40" class="sub">%s</text>' % escape(subtitle),
        *lines,
        "</svg>",
        "",
    ])  # fmt: skip
