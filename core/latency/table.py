"""Latency tables: block latency against token count, measured here or given for another device, and read off.

The file is CSV with the columns `part,tokens,ms,width,heads,ffn_hidden,device,threads,batch`. Rows of part `block` give
the milliseconds of one block at that many tokens (class token and packages counted); rows of part `selector`, for the
same token counts, those of one selector with its packaging (may be left out: then they count as free); one row of part
`rest`, tokens 0, those of everything else. The other columns are the same in every row: the model's shape, and what
was measured how.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from core.costs.geometry import Geometry
from core.costs.grids import pools
from core.errors import InputError
from core.files import write_text
from core.results.timings import LatencyTable

COLUMNS = ("part", "tokens", "ms", "width", "heads", "ffn_hidden", "device", "threads", "batch")
PARTS = ("block", "selector", "rest")
GAP = 0.15
"""Neighbouring token counts may lie this far apart, as a share of the model's tokens; between them lines are drawn."""


def table_text(table: LatencyTable) -> str:
    """The table as CSV."""
    shared = (table.width, table.heads, table.ffn_hidden, table.device, table.threads, table.batch)
    rows = [("rest", 0, f"{table.rest_ms:.4f}", *shared)]
    for part, times in (("block", table.block_ms), ("selector", table.selector_ms)):
        rows += [(part, n, f"{ms:.4f}", *shared) for n, ms in zip(table.tokens, times, strict=True)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue()


def write_table(table: LatencyTable, path: Path) -> None:
    """Write the table as CSV.

    Raises:
        InputError: If the file cannot be written.
    """
    try:
        write_text(path, table_text(table))
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); name another file.") from error


def parse_table(text: str, name: str) -> LatencyTable:
    """The table in a CSV text.

    Args:
        text: What the file holds.
        name: For errors.

    Raises:
        InputError: If a column is missing, a value is no number, or rows contradict each other.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(text)))
    except csv.Error as error:
        raise InputError(f"{name} is no latency table: {error}.") from error
    missing = [column for column in COLUMNS if not rows or rows[0].get(column) is None]
    if missing:
        raise InputError(f"{name} is no latency table: it needs the columns {','.join(COLUMNS)}.")
    try:
        shared = {tuple(row[column] for column in COLUMNS[3:]) for row in rows}
        if len(shared) > 1:
            raise ValueError("width to batch must be the same in every row")
        width, heads, ffn_hidden, device, threads, batch = shared.pop()
        parts = {part: sorted((int(r["tokens"]), float(r["ms"])) for r in rows if r["part"] == part) for part in PARTS}
        tokens = tuple(n for n, _ in parts["block"])
        if parts["selector"] and tuple(n for n, _ in parts["selector"]) != tokens:
            raise ValueError("selector rows must have the token counts of the block rows")
        if len(parts["rest"]) != 1:
            raise ValueError("one row of part rest is needed")
        return LatencyTable(
            device=device,
            threads=int(threads),
            batch=int(batch),
            width=int(width),
            heads=int(heads),
            ffn_hidden=int(ffn_hidden),
            tokens=tokens,
            block_ms=tuple(ms for _, ms in parts["block"]),
            selector_ms=tuple(ms for _, ms in parts["selector"]) or (0.0,) * len(tokens),
            rest_ms=parts["rest"][0][1],
        )
    except (ValueError, TypeError) as error:
        raise InputError(f"{name} is no sound latency table: {error}.") from error


def read_table(path: Path) -> LatencyTable:
    """The table in a file; see `parse_table`.

    Raises:
        InputError: Likewise, and if the file cannot be read.
    """
    try:
        return parse_table(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The latency table {path} cannot be read; give a CSV file as `bench --table` writes it."
        ) from error


def check_one_grid(geometry: Geometry) -> None:
    """Refuse a model whose blocks differ in width and grid: a table holds one kind of block.

    Raises:
        InputError: If it is one.
    """
    if pools(geometry):
        raise InputError(
            "A latency table holds blocks of one width, and this model's change from stage to stage; give keep ratios "
            "or MACs instead of milliseconds, and measure the model itself with `bench`."
        )


def check_table(table: LatencyTable, geometry: Geometry) -> None:
    """Refuse a table that cannot be read off for this model.

    Raises:
        InputError: If it is of another shape, ends too early, starts too late, or has a gap.
    """
    check_one_grid(geometry)
    block = geometry.blocks()[0]
    shape, own = (table.width, table.heads, table.ffn_hidden), (block.width, block.heads, block.ffn)
    if shape != own:
        raise InputError(
            f"The latency table is for blocks of width {shape[0]} with {shape[1]} heads and {shape[2]} hidden units; "
            f"this model has {own[0]}, {own[1]} and {own[2]}."
        )
    most = geometry.patches + geometry.prefix_tokens
    reach = max(2, int(GAP * most))
    first = reach + geometry.prefix_tokens
    if table.tokens[-1] < most or table.tokens[0] > first:
        raise InputError(
            f"The latency table has {table.tokens[0]} to {table.tokens[-1]} tokens; this model needs "
            f"{first} or fewer to {most} or more."
        )
    gaps = [(a, b) for a, b in pairwise(table.tokens) if b - a > reach and a < most]
    if gaps:
        raise InputError(
            f"The latency table has a gap between {gaps[0][0]} and {gaps[0][1]} tokens; measure at least every "
            f"{reach} tokens."
        )


def predicted_ms(table: LatencyTable, tokens: Sequence[int], seen: Sequence[int] = ()) -> float:
    """Milliseconds of one pass, read off the table with straight lines between its points.

    Args:
        table: Of the device.
        tokens: Tokens of an image in each block, L of them.
        seen: Tokens before each selector.
    """
    blocks = np.interp(tokens, table.tokens, table.block_ms).sum()
    selectors = np.interp(seen, table.tokens, table.selector_ms).sum() if len(seen) else 0.0
    return float(table.rest_ms + blocks + selectors)


def scaled_table(table: LatencyTable, factor: float) -> LatencyTable:
    """The table with all of its times multiplied by `factor`, more than 0."""
    block, selector = (tuple(factor * ms for ms in times) for times in (table.block_ms, table.selector_ms))
    return replace(table, block_ms=block, selector_ms=selector, rest_ms=factor * table.rest_ms)
