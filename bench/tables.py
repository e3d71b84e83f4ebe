"""What the page's tables and sections are made of."""

from __future__ import annotations

from rounds import Results
from targets import errors, median


def spread(results: Results, scenario: str, server: str, what: str, digits: int = 1) -> str:
    """The median, and where there is more than one round the least and the greatest."""
    values = [s[what] for s in results.samples[scenario][server] if what in s]
    middle = median(results, scenario, server, what)
    if middle is None:
        return "–"
    text = f"{middle:.{digits}f}"
    return text if len(values) < 2 else f"{text} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def ranked(results: Results, scenario: str, what: str, best_high: bool = False) -> list[tuple[str, float]]:
    pairs = [(name, median(results, scenario, name, what)) for name in results.samples.get(scenario, {})]
    known = [(name, value) for name, value in pairs if value is not None]
    return sorted(known, key=lambda pair: pair[1], reverse=best_high)


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return ["| " + " | ".join(cells) + " |" for cells in [head, rule, *rows]]


def named(server: str) -> str:
    return f"**{server}**" if server.startswith("hostler") else server


def failures(results: Results, scenario: str) -> list[str]:
    """The loud rows: what could not be measured, and why."""
    return [f"> **NOT MEASURED: {name}**: {why}" for name, why in sorted(results.failures.get(scenario, {}).items())]


def loud(results: Results, scenario: str, server: str) -> str:
    bad = errors(results, scenario, server)
    return f"**{bad}**" if bad else "0"


def cpu_table(results: Results, scenario: str) -> list[str]:
    ours = median(results, scenario, "hostler", "cpu")
    rows = []
    for name, cpu in ranked(results, scenario, "cpu"):
        ratio = f"{cpu / ours:.2f}" if ours else "–"
        p99 = spread(results, scenario, name, "p99", 2).split(" ")[0]
        rows.append([named(name), spread(results, scenario, name, "cpu"), ratio, spread(results, scenario, name, "rps", 0).split(" ")[0], p99,
                     loud(results, scenario, name)])  # fmt: skip
    return table(["server", "CPU µs per request", "× hostler", "requests/s", "p99 ms", "failed"], rows)


def section(title: str, text: str, lines: list[str], results: Results, scenario: str) -> list[str]:
    body = lines if len(lines) > 2 else ["Not measured."]
    wrong = failures(results, scenario)
    return ["### " + title, ""] + ([text, ""] if text else []) + body + ([""] + wrong if wrong else []) + [""]
