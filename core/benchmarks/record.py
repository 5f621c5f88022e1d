"""The record of a benchmark in the repository: one JSON file, and the same rows as a table in Markdown."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from core.errors import InputError
from core.files import check_target, write_text
from core.files.json_text import json_text
from core.models.registry import ASSETS
from core.results.timings import SpeedRow
from core.version import __version__

JSON = ASSETS / "benchmarks.json"
"""The table lies beside it, as benchmarks-table.md."""
PACKAGES = ("torch", "timm", "onnxruntime", "openvino")
HEAD = (
    "model",
    "engine",
    "batch",
    "dense",
    "pruned",
    "speed-up",
    "by MACs",
    "efficiency",
    "selectors",
    "patches kept",
    "date, load",
)


def conditions(device: str) -> dict:
    """Of a measurement here: device, threads, processor, cores, versions."""
    return {
        "device": device,
        "threads": torch.get_num_threads(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
    }


def moment() -> dict:
    """When a row was measured, by which version, and the machine's load average over one minute, if known."""
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {"date": date.today().isoformat(), "load_average": load, "prunescope": __version__}


def check_record(path: Path) -> None:
    """Refuse a file that cannot be the record, before anything is measured.

    Raises:
        InputError: If it does not end in .json, holds something else, or its folder is not there.
    """
    if path.suffix != ".json":
        raise InputError(f"--record takes a file that ends in .json; not {path}.")
    check_target(path, "--record")
    read_record(path)


def read_record(path: Path) -> dict:
    """What the file holds; nothing if it is not there.

    Raises:
        InputError: If it is no record of a benchmark.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not {"device", "threads", "machine", "versions", "rows"} <= found.keys():
            raise ValueError("keys are missing")
    except (OSError, UnicodeDecodeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} holds no record of a benchmark; name another file.") from error
    return found


def add_rows(path: Path, here: dict, rows: Sequence[SpeedRow], order: Sequence[str]) -> None:
    """Put rows into the record, in place of older ones of the same model, engine and batch, and write its table anew.

    Rows of another machine or of other versions leave: what stands together was measured alike.

    Args:
        path: Of the JSON.
        here: See `conditions`.
        rows: Measured a moment ago.
        order: Of the models in the file.

    Raises:
        InputError: If the file holds something else, or cannot be written.
    """
    before = read_record(path)
    same = all(before.get(key) == value for key, value in here.items())
    found = {_key(row): row for row in (before["rows"] if same else ())}
    found |= {_key(row): row for row in ({**asdict(row), **moment()} for row in rows)}
    place = {name: index for index, name in enumerate(order)}
    told = sorted(found.values(), key=lambda row: (place.get(row["model"], len(place)), row["batch"]))
    whole = {**here, "rows": told}
    try:
        write_text(path, json_text(whole, indent=1) + "\n")
        write_text(path.with_name(f"{path.stem}-table.md"), table(whole))
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); name another file.") from error


def table(record: dict) -> str:
    """The record as Markdown: what it was measured on, and a line per row."""
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items() if number)
    lines = [
        "# Pruned beside dense, in each engine",
        "",
        "Written by `make bench`; the same rows are in benchmarks.json. Milliseconds are medians, with the distance of",
        "the quartiles in brackets; the speed-up is the median of the ratios within a round, dense and pruned taking",
        "turns in the same engine; efficiency is speed-up / MAC ratio; selectors: their share of the pruned",
        "time, in eager torch that of their scores, in other engines that of taking patches out and packing too.",
        "",
        f"Machine: {record['machine']}; {record['device']}, {record['threads']} threads, float32. {versions}.",
        "",
        f"| {' | '.join(HEAD)} |",
        f"|{' --- |' * len(HEAD)}",
        *(f"| {' | '.join(_cells(row))} |" for row in record["rows"]),
    ]
    return "\n".join(lines) + "\n"


def _cells(row: dict) -> list[str]:
    kept = ["-".join(map(str, sorted(set(pair)))) for pair in row["kept"] or ()]
    share = row["selector_share"]
    return [
        f"`{row['model']}`",
        row["engine"],
        str(row["batch"]),
        f"{row['dense_ms']:.1f} ms ({row['dense_iqr_ms']:.1f})",
        f"{row['pruned_ms']:.1f} ms ({row['pruned_iqr_ms']:.1f})",
        f"{row['speedup']:.2f}",
        f"{row['mac_ratio']:.2f}",
        f"{row['efficiency']:.2f}",
        "" if share is None else f"{100 * share:.1f} %",
        ", ".join(kept),
        f"{row['date']}, {'?' if row['load_average'] is None else row['load_average']}",
    ]


def _key(row: dict) -> tuple:
    return row["model"], row["engine"], row["batch"]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"
