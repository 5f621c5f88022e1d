"""Which method agrees most with the dense model at which budget: a chart, a table that a phone can read, a sentence."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import plotly.graph_objects as go

from core.results.method_table import Attempt, Leaders, MethodTable, leaders
from core.results.timings import Latency
from viz.cost import device_text
from viz.savings import LOOKS
from viz.theme import DENSE, QUIET, drawn, macs_number, macs_text

STYLE = (Path(__file__).parent / "which_method.css").read_text(encoding="utf-8")
DRAWN = {
    "Tokens": ("circle-open", 18, "solid"),
    "Single path": ("diamond-open", 15, "dash"),
    "Joint": ("pentagon-open", 11, "dot"),
    "ToMe": ("triangle-up", 7, "dashdot"),
}
"""Symbol, its size and the line of each method: one inside the other, since methods tie; colours as in `LOOKS`."""
BUSY = 1.15
"""Times of the same that differ by more were not measured in peace."""
HEADINGS = ("Method", "Same answer", "MACs", "Predicted", "Measured")


def agreement_lines(table: MethodTable) -> go.Figure:
    """Agreement with the dense model against multiply-adds, one line per method, and the dense model itself."""
    traces = [_line(table, method, [row for row in table.rows if row.method == method]) for method in DRAWN]
    traces.append(
        {
            "type": "scatter",
            "x": [100.0],
            "y": [100.0],
            "name": "Dense",
            "mode": "markers",
            "marker": {"color": DENSE, "symbol": "square", "size": 10},
            "hovertemplate": f"{macs_text(table.dense_macs)}<extra>Dense</extra>",
        }
    )
    able = [100 * row.agreeing / table.photos for row in table.rows if row.why_not is None]
    shares = sorted({100 * share for share in table.shares} | {100.0})
    return drawn(
        [trace for trace in traces if trace["x"]],
        330,
        xaxis={
            "title": {"text": "Multiply-adds, % of dense"},
            "tickvals": shares,
            "ticktext": [f"{share:g} %<br>{macs_number(share / 100 * table.dense_macs)}" for share in shares],
            "range": [shares[0] - 6, 104],
            "gridcolor": QUIET,
            "zeroline": False,
        },
        yaxis={
            "title": {"text": "Same first answer, % of photos"},
            "range": [max(-4, min([*able, 90]) - 8), 106],
            "gridcolor": QUIET,
            "zeroline": False,
        },
    )


def _line(table: MethodTable, method: str, rows: Sequence[Attempt]) -> dict:
    able = sorted((row for row in rows if row.why_not is None), key=lambda row: row.macs)
    symbol, size, dash = DRAWN[method]
    colour = LOOKS[method][0]
    return {
        "type": "scatter",
        "x": [100 * row.macs / table.dense_macs for row in able],
        "y": [100 * row.agreeing / table.photos for row in able],
        "customdata": [
            [f"{row.agreeing} of {table.photos}", row.mean_kl_nats, macs_text(row.macs), row.setting] for row in able
        ],
        "name": method,
        "mode": "lines+markers",
        "line": {"color": colour, "dash": dash, "width": 2},
        "marker": {"color": colour, "symbol": symbol, "size": size, "line": {"width": 2.5, "color": colour}},
        "hovertemplate": "%{customdata[0]} photos, KL %{customdata[1]:.3f} nats<br>%{customdata[2]}<br>"
        f"%{{customdata[3]}}<extra>{method}</extra>",
    }


def chart_words(table: MethodTable) -> str:
    """What the chart shows, for whoever cannot see it."""
    return "; ".join(
        f"{row.method} at {100 * row.share:g} %: {row.agreeing} of {table.photos}"
        for row in table.rows
        if row.why_not is None
    )


def method_table(table: MethodTable) -> str:
    """All rows as a table in HTML, grouped by share, narrow enough for a phone; with its style sheet."""
    timed = any(row.measured for row in table.rows)
    heads = HEADINGS if timed else HEADINGS[:3]
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    groups = "".join(_group(table, share, len(heads)) for share in table.shares)
    caption = "<caption>Each method at each budget, on the same photos</caption>"
    return f'<style>{STYLE}</style><table class="which-method">{caption}<thead><tr>{top}</tr></thead>{groups}</table>'


def _group(table: MethodTable, share: float, columns: int) -> str:
    rows = table.at(share)
    best = leaders(rows).best
    dense = next((row.dense_measured for row in rows if row.dense_measured), None)
    said = f"{100 * share:g} % of dense, at most {macs_text(share * table.dense_macs)}"
    if dense is not None:
        said += f"; dense took {ms_text(dense)} in the same turns"
    head = f'<tr><th class="share" scope="rowgroup" colspan="{columns}">{said}</th></tr>'
    return f"<tbody>{head}{''.join(_row(table, row, columns, row in best) for row in rows)}</tbody>"


def _row(table: MethodTable, row: Attempt, columns: int, leads: bool) -> str:
    name = f'<th scope="row">{row.method}</th>'
    if row.why_not is not None:
        return f'<tr>{name}<td class="why" colspan="{columns - 1}">{escape(row.why_not)}</td></tr>'
    agreeing = f"{row.agreeing} of {table.photos}"
    cells = [
        f"<strong>{agreeing}</strong>" if leads else agreeing,
        f"{macs_number(row.macs)}<br>{100 * row.macs / table.dense_macs:.1f} %",
        "—" if row.predicted_ms is None else f"{row.predicted_ms:.1f} ms",
        _measured(row),
    ]
    return f"<tr>{name}{''.join(f'<td>{cell}</td>' for cell in cells[: columns - 1])}</tr>"


def _measured(row: Attempt) -> str:
    """Its time, and whether it is slower than dense in spite of all it saves."""
    if row.measured is None:
        return "—"
    is_slower = row.dense_measured is not None and row.measured.median_ms > row.dense_measured.median_ms
    return ms_text(row.measured) + "<br>slower than dense" * is_slower


def ms_text(latency: Latency) -> str:
    """Median and spread, short; `times_sentence` says of what."""
    return f"{latency.median_ms:.1f} ms (±{latency.iqr_ms / 2:.1f})"


def times_sentence(table: MethodTable) -> str:
    """What one must know of the times in the table; "" where there are none."""
    took = next((row.measured for row in table.rows if row.measured), None)
    if took is None:
        return ""
    dense = f"; by that dense takes {table.dense_predicted_ms:.1f} ms" if table.dense_predicted_ms else ""
    return (
        f"Measured: median of {took.repeats} passes of one photo, ± half the distance between the quartiles, all "
        f"methods of a budget in turns with dense, on {device_text(took)}, {took.dtype}, {took.engine}. Predicted: "
        f"from what blocks and rankings were measured to take here{dense}. ToMe's time is measured only: nothing here "
        f"predicts what its matching takes.{_busy(table)}"
    )


def _busy(table: MethodTable) -> str:
    """A warning where the dense model did not take equally long each time."""
    each = [row.dense_measured.median_ms for row in table.rows if row.dense_measured]
    each += [table.dense_predicted_ms] if table.dense_predicted_ms else []
    if max(each) <= BUSY * min(each):
        return ""
    return (
        f" Dense itself took between {min(each):.1f} and {max(each):.1f} ms: the machine was busy with other work, so "
        "do not trust these times."
    )


def leaders_sentence(table: MethodTable) -> str:
    """Who agrees most with the dense model at each budget; a tie is called a tie."""
    said = [_led(leaders(table.at(share)), table.photos) for share in table.shares]
    return f"Agrees most with dense: {'; '.join(said)}."


def _led(found: Leaders, photos: int) -> str:
    at = f"at {100 * found.share:g} %"
    if not found.best:
        return f"{at} no method gets there"
    many, first = f"{found.best[0].agreeing} of {photos}", [f"**{row.method}**" for row in found.best]
    near = ""
    if found.near:
        names = _listed([f"{row.method} with {row.agreeing}" for row in found.near])
        near = f"; {names} may be behind by chance"
    if len(first) > 1:
        return f"{at} a tie of {_listed(first)} ({many} each{near})"
    return f"{at} {first[0]} ({many}{near})"


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def doubt_sentence(table: MethodTable) -> str:
    """How much these photos can tell."""
    if table.answers == 1 and table.photos > 1:
        return f"Dense gives all {table.photos} photos the same answer, so agreement on them tells little."
    one = f"One photo of {table.photos} is {100 / table.photos:.3g} points" if table.photos > 1 else "It is one photo"
    found = [leaders(table.at(share)) for share in table.shares]
    able = [sum(row.why_not is None for row in table.at(share)) for share in table.shares]
    if all(len(each.best) + len(each.near) == count for each, count in zip(found, able, strict=True)):
        return f"{one}, and no lead here is beyond chance: these photos cannot tell the methods apart."
    return f"{one}; who is not named is behind by more than chance (sign test on these photos, 5 %)."
