"""What a person asks of the commands that run models: their flags, read once, typed and frozen."""

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from core.results.timings import EAGER


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model is set; texts as they were typed, for `core.config.SETTINGS` to read."""

    budget: str | None = None
    keep: str | None = None
    threshold: float | None = None
    blocks: str | None = None
    mass: float | None = None
    heads: str | None = None
    arch: str | None = None
    img_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class ModelRequest(Settings):
    """A model with its settings; what a command has no flag for stands at its default."""

    model: str
    classes: Path | None = None
    method: str = "own"
    """Of `evaluate`: how the model chooses patches, or another method in its place."""
    dense: str | None = None
    """Likewise: what that other method runs on."""
    device: str | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class PhotosRequest(ModelRequest):
    """`predict` and `evaluate`: a model over photos, or over folders of them."""

    command: str
    photos: tuple[Path, ...] = ()
    crop: str | None = None
    data: tuple[Path, ...] = ()
    batch: int
    workers: int
    out: Path | None = None
    resume: bool = False
    record: Path | None = None
    engine: str = EAGER
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class ReportRequest(ModelRequest):
    """`report`."""

    data: tuple[Path, ...]
    against: str | None = None
    against_random: str | None = None
    boxes: tuple[Path, ...] | None = None
    batch: int
    workers: int
    record: Path | None = None


@dataclass(frozen=True, kw_only=True)
class CalibrateRequest(ReportRequest):
    """`calibrate`."""

    unknown: tuple[Path, ...] | None
    limit_per_class: int | None
    out: Path


@dataclass(frozen=True, kw_only=True)
class ExportRequest(ModelRequest):
    """`export`."""

    out: Path
    half: bool
    photos: tuple[Path, ...] | None
    hub_format: bool


@dataclass(frozen=True, kw_only=True)
class BenchRequest(Settings):
    """`bench`."""

    model: tuple[str, ...] | None
    batch: str | None
    engine: str
    record: Path | None
    repeats: int
    table: Path | None
    ragged: bool
    training: bool
    peer: str | None
    peer_settings: str | None
    precision: str
    device: str | None


Request = TypeVar("Request", bound=Settings)


def read(kind: type[Request], args: argparse.Namespace) -> Request:
    """The request that parsed flags are; lists become tuples."""
    flags = {field.name: getattr(args, field.name) for field in fields(kind) if hasattr(args, field.name)}
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in flags.items()}
    return kind(**given)
