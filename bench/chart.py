"""The chart beside the tables: bars of CPU time per request, by hand, as SVG."""

from __future__ import annotations

from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, BAR, GAP, HEAD = 860, 150, 110, 17, 7, 46
OURS, FLOOR, OTHERS = "#0b7285", "#868e96", "#ced4da"


class Panel(NamedTuple):
    title: str
    bars: list[tuple[str, float]]  # server, µs; the shortest first


def colour(name: str) -> str:
    return OURS if name == "hostler" else FLOOR if name.startswith("C ") else OTHERS


def figure(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def bars(panel: Panel, top: int) -> list[str]:
    """A panel's lines of SVG. A bar over five times the median is cut, and says so, lest it dwarf the rest."""
    values = sorted(value for _, value in panel.bars)
    full = min(values[-1], 5 * values[len(values) // 2]) or 1.0
    room = WIDTH - LEFT - RIGHT
    out = [f'<text x="0" y="{top + 18}" class="title">{escape(panel.title)}</text>']
    for i, (name, value) in enumerate(panel.bars):
        y = top + 30 + i * (BAR + GAP)
        cut = value > full
        length = max(1.0, min(value, full) / full * room)
        kind = ' class="ours"' if name == "hostler" else ""
        out.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end"{kind}>{escape(name)}</text>')
        out.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2" fill="{colour(name)}"/>')
        if cut:
            x = LEFT + length - 22
            out.append(f'<path d="M{x:.1f} {y + BAR} l6 {-BAR} h5 l-6 {BAR} z" fill="#fff"/>')
        out.append(f'<text x="{LEFT + length + 6:.1f}" y="{y + 13}"{kind}>{figure(value) + (" (bar cut)" if cut else "")}</text>')
    return out


def render(panels: list[Panel], subtitle: str) -> str:
    panels = [panel for panel in panels if panel.bars]
    lines: list[str] = []
    top = HEAD
    for panel in panels:
        lines += bars(panel, top)
        top += 30 + len(panel.bars) * (BAR + GAP) + 16
    style = ("text{font:13px system-ui,'DejaVu Sans',sans-serif;fill:#343a40}"
             ".title{font-size:15px;font-weight:600}.ours{font-weight:700;fill:#0b7285}.sub{fill:#868e96}")  # fmt: skip
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-12 0 {WIDTH + 24} {top}" width="{WIDTH + 24}" height="{top}" role="img">',
        "<title>Server CPU time per request</title>",
        f"<style>{style}</style>",
        f'<rect x="-12" y="0" width="{WIDTH + 24}" height="{top}" fill="#fff"/>',
        '<text x="0" y="22" class="title">Server CPU per request, µs: shorter is better</text>',
        f'<text x="0" y="40" class="sub">{escape(subtitle)}</text>',
        *lines,
        "</svg>",
        "",
    ])  # fmt: skip
