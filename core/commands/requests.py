"""What a person asks of the commands: their flags, read once, typed and frozen."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from core.config import Distill, RankBy
from core.results.timings import EAGER


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What every command takes, and what it may leave out stands at its default."""

    command: str = ""
    json: bool = False
    device: str | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Settings(Flags):
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


@dataclass(frozen=True, kw_only=True)
class PhotosRequest(ModelRequest):
    """`predict` and `evaluate`: a model over photos, or over folders of them."""

    photos: tuple[Path, ...] = ()
    crop: str | None = None
    data: tuple[Path, ...] = ()
    batch: int
    workers: int
    out: Path | None = None
    resume: bool = False
    record: Path | None = None
    engine: str = EAGER


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


@dataclass(frozen=True, kw_only=True)
class FetchRequest(Flags):
    """`fetch`."""

    model: str


@dataclass(frozen=True, kw_only=True)
class ScoringRequest(Flags):
    """A dense model, and the photos that its gates are scored on."""

    model: str
    out: Path
    photos: tuple[Path, ...] | None
    count: int


@dataclass(frozen=True, kw_only=True)
class ScoreRequest(ScoringRequest):
    """`score`."""

    gates_only: bool


@dataclass(frozen=True, kw_only=True)
class UntrainedRequest(ScoringRequest):
    """`untrained`."""

    data: tuple[Path, ...]
    limit_per_class: int | None
    batch: int
    workers: int


@dataclass(frozen=True, kw_only=True)
class TargetsRequest(Flags):
    """Where token selectors stand and what they are to reach; `schedule` as it is."""

    model: str | None
    data: tuple[Path, ...] | None
    selectors: str | None
    targets: str | None
    table: Path | None


@dataclass(frozen=True, kw_only=True)
class TrainingRequest(Flags):
    """What all training commands take."""

    data: tuple[Path, ...]
    out: Path
    resume: bool
    epochs: int
    batch: int
    lr: float | None
    lr_per_512: float
    weight_decay: float
    warmup_epochs: float
    mixup: float
    cutmix: float
    teacher: str | None
    distill: Distill | None
    distill_share: float
    shrink_to: int | None
    limit_per_class: int | None
    val_per_class: int | None
    save_minutes: float
    auto_augment: str | None
    workers: int
    precision: str

    @property
    def rate(self) -> float:
        """The learning rate: as given, or the usual one for this batch."""
        return self.lr_per_512 * self.batch / 512 if self.lr is None else self.lr


@dataclass(frozen=True, kw_only=True)
class TrainRequest(TrainingRequest):
    """`train`."""

    model: str | None
    layer_decay: float
    head_lr: float | None
    average: float
    pretrained: bool
    as_teacher: bool
    start_from: str | None
    within_root: bool
    probe: bool
    img_size: int | None
    stem: str
    patch: int
    stem_channels: int
    width: int
    depth: int
    heads: int
    drop_path: float
    patch_drop: float
    classes: Path | None


@dataclass(frozen=True, kw_only=True)
class SearchRequest(TrainingRequest):
    """`search`."""

    model: str
    budget: str
    gate_lr: float | None
    cost_weight: float | None
    alpha: float | None
    from_scores: bool | None


@dataclass(frozen=True, kw_only=True)
class FinetuneRequest(TrainingRequest, TargetsRequest):
    """`finetune`."""

    model: str
    data: tuple[Path, ...]
    budget: str | None
    least: str
    any_budget: bool | None
    backbone_lr: float | None
    wait_epochs: float
    rank_by: RankBy | None
    drop_at_random: bool
    no_packages: bool


Request = TypeVar("Request", bound=Flags)


def read(kind: type[Request], args: argparse.Namespace, usual: Mapping[str, Any] | None = None) -> Request:
    """The request that parsed flags are; lists become tuples, and `usual` stands where a flag was not given."""
    flags = {field.name: getattr(args, field.name) for field in fields(kind) if hasattr(args, field.name)}
    flags |= {key: value for key, value in (usual or {}).items() if flags.get(key) is None}
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in flags.items()}
    return kind(**given)
