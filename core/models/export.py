"""A model as a file for others: our format without gates, ONNX, or torch.export's; each is read back and compared."""

import copy
import importlib.util
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from core.config import GRAPHS, ONNX, OURS, ModelSpec, plain
from core.errors import InputError
from core.files.json_text import json_text
from core.methods import kind_of
from core.models.cards import CompactCard, ModelCard
from core.models.load import Loaded, load
from core.models.macs import fixed_macs
from core.models.weights import save_checkpoint
from core.soft_tokens.fixed import graph_of

TOLERANCE = 1e-4
"""How far a logit of the file may be from the model's: |file - model| <= TOLERANCE + TOLERANCE |model|."""
MOST_PHOTOS = 64
"""They run through both in one batch."""
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
TRACES = {"stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node"}
"""What torch.export notes of each step: lines of the sources, with the folders of the machine that exports."""


@dataclass(frozen=True)
class Exported:
    """One file that was written, read back and found to answer as the model does."""

    path: Path
    form: str
    """Name of the kind of model; see `core.methods.KINDS`."""
    dtype: str
    """Of the stored weights: "float32" or "float16"."""
    bytes: int
    """With the weights, which ONNX keeps in a file of their own where they are large."""
    largest_difference: float
    """Between a logit of the file and one of the model that it was made of, absolute, over all photos."""
    photos: int
    """Compared one by one, and in one batch."""
    macs: int | None
    """Of one image; None where they differ from image to image."""
    params: int
    """That the file holds."""


@torch.no_grad()
def export_model(
    loaded: Loaded, folder: Path, names: Sequence[str], photos: Tensor, *, half: bool = False
) -> tuple[Exported, ...]:
    """Write a model into `folder`: all files, compared with the model, or none.

    A single-path model is written compact, as its budget made it; a model with selectors as a graph at the keep ratios
    that it was loaded with, the same work for each photo. Everything happens on the CPU.

    Args:
        loaded: The model; stays as it is.
        folder: Made if it is not there.
        names: Of the files; .safetensors is our format, .onnx is ONNX, .pt2 a program of torch.export.
        photos: Normalised, (P, 3, H, W), P from 1 to `MOST_PHOTOS`; the files are compared with the model on them.
        half: Store floats in half precision, in our format; graphs stay in single.

    Raises:
        InputError: If the model cannot be written so, the folder cannot be written to, or a file answers otherwise.
    """
    check_targets(folder, names)
    check_model(loaded, names, photos)
    model, card = copy.deepcopy(loaded.model).cpu(), exported_card(loaded)
    photos, keep = photos.cpu(), loaded.spec.keep
    try:
        with TemporaryDirectory(prefix=".export-", dir=nearest(folder)) as temporary:
            stage = Path(temporary)
            differences = [write_checked(stage / name, model, card, photos, half=half, keep=keep) for name in names]
            found = tuple(
                Exported(
                    path=folder / name,
                    form=kind_of(card).name,
                    dtype="float16" if half and name.endswith(OURS) else "float32",
                    bytes=sum(file.stat().st_size for file in stage.iterdir() if file.name.startswith(name)),
                    largest_difference=difference,
                    photos=len(photos),
                    macs=fixed_macs(loaded),
                    params=sum(parameter.numel() for parameter in model.parameters()),
                )
                for name, difference in zip(names, differences, strict=True)
            )
            folder.mkdir(parents=True, exist_ok=True)
            for file in sorted(stage.iterdir(), key=lambda file: file.name in names):  # large weights go first
                os.replace(file, folder / file.name)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{folder} cannot be written to ({reason}); name another --out.") from error
    return found


def nearest(folder: Path) -> Path:
    """The folder itself, or the one above it that is there."""
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))


def check_targets(folder: Path, names: Sequence[str]) -> None:
    """Refuse files that cannot be written, before any work.

    Raises:
        InputError: If a suffix says nothing, a file is there already, no folder can be there, or a package is missing.
    """
    place = nearest(folder)
    if not os.path.isdir(place) or not os.access(place, os.W_OK):
        raise InputError(f"{folder} cannot be written to; name another --out.")
    for name in names:
        if not name.endswith((OURS, *GRAPHS)):
            raise InputError(f"{name} must end in {OURS} (our format), {' or '.join(GRAPHS)}.")
        for path in (folder / name, folder / f"{name}.data"):  # .data: large weights of ONNX
            if os.path.lexists(path):
                raise InputError(f"{path} is already there; name another --out.")
    missing = [package for package in ONNX_PACKAGES if importlib.util.find_spec(package) is None]
    if missing and any(name.endswith(ONNX) for name in names):
        raise InputError(
            f"ONNX needs packages that are not here; `pip install {' '.join(missing)}`, or export a {OURS} file."
        )


def check_model(loaded: Loaded, names: Sequence[str], photos: Tensor) -> None:
    """Refuse what a file cannot hold, and what it cannot be compared on; the arguments as in `export_model`.

    Raises:
        InputError: If a model with token selectors is to be a graph and has no keep ratios, or is to be anything else
            and has settings, or there are too few or too many photos.
    """
    if not 1 <= len(photos) <= MOST_PHOTOS:
        raise InputError(f"A file is compared on 1 to {MOST_PHOTOS} photos; {len(photos)} were given.")
    spec, card = loaded.spec, loaded.card
    whole = all(name.endswith(GRAPHS) for name in names)
    if card.selectors is not None and spec.keep is None and any(name.endswith(GRAPHS) for name in names):
        raise InputError(
            f"The work of {spec.name} differs from photo to photo, so it cannot be written as a graph "
            f"({', '.join(GRAPHS)}); give --keep with {len(card.selectors.blocks)} shares, which fix it, or export it "
            f"as {OURS}."
        )
    said = asdict(spec.hints)  # of the file that is read, and known from here on
    kept = {"keep": spec.keep, "blocks": spec.blocks} if whole else {}
    if spec != ModelSpec(spec.name, spec.budget, **kept, **said):
        raise InputError(
            f"A {OURS} file holds no keep ratio, and no file a threshold or packaging; load {spec.name} without them, "
            f"export it, and give them when the file is used. Keep ratios alone can be part of "
            f"{' and '.join(GRAPHS)} files."
        )
    if whole:
        graph_of(loaded.model, spec.keep, spec.name)


def exported_card(loaded: Loaded) -> ModelCard:
    """The card of the form that is written: compact where the model had gates; its training is told on."""
    card, made = loaded.card, loaded.architecture
    if card.single_path is None:
        return card
    assert made is not None  # of the gates
    compact = CompactCard(
        mixers=made.mixers,
        ffn_hidden=made.ffn_hidden,
        asked_macs=made.asked_macs,
        stored_params=loaded.stored_params,
        prefix_passes=card.single_path.prefix_passes,
        in_windows=card.single_path.in_windows,
        fit_to_predict=card.single_path.fit_to_predict,
    )
    return replace(card, single_path=None, compact=compact)


def write_checked(
    path: Path,
    model: nn.Module,
    card: ModelCard,
    photos: Tensor,
    *,
    half: bool,
    keep: tuple[float, ...] | None = None,
) -> float:
    """Write one file and compare what is read back from it with the model, on each photo and on all at once.

    In half precision the file must answer as the model with its weights rounded does. `keep`: what the model keeps of
    every photo, for a graph.

    Returns:
        The largest absolute difference of a logit from `model`'s.

    Raises:
        InputError: If a logit is further off than `TOLERANCE`, or no number.
    """
    if path.suffix in GRAPHS:
        write, opened = (write_onnx, onnx_session) if path.suffix == ONNX else (write_program, open_program)
        write(path, graph_of(model, keep, path.name), card)
        read, expected = opened(path), model
    else:
        save_checkpoint(path, model, card, half=half)
        read, expected = load(ModelSpec(str(path))).model, copy.deepcopy(model).half().float() if half else model
    together = photos if len(photos) > 1 else photos.repeat(2, 1, 1, 1)  # a batch, whatever the number of photos
    largest = 0.0
    for batch in (*photos.split(1), together):
        answer, wanted = read(batch), expected(batch)  # (B, C)
        if not torch.allclose(answer, wanted, rtol=TOLERANCE, atol=TOLERANCE):
            off = (answer - wanted).abs().max()
            raise InputError(
                f"{path.name} was not kept: its logits differ from the model's by up to {off:.2g}, and {TOLERANCE:g} "
                f"is allowed; install the versions of requirements.txt and export again."
            )
        largest = max(largest, float((answer - model(batch)).abs().max()))
    return largest


def write_onnx(path: Path, model: nn.Module, card: ModelCard) -> None:
    """Write a model as ONNX: "images" (B, 3, H, W) in, "logits" (B, C) out, for any B; see `told_beside`.

    The weights lie in the same file, or beside it in PATH.data where they are larger than the format allows.
    """
    size = card.geometry.img_size
    example = torch.zeros(2, 3, size, size)  # two photos: the exporter may take a batch of one for a constant
    program = draw_onnx(model, (example,), ["images"], ({0: "batch"},))
    program.model.metadata_props.update(told_beside(card))
    program.save(path)


def draw_onnx(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    names: Sequence[str],
    dynamic: tuple[dict[int, str], ...] | None = None,
) -> torch.onnx.ONNXProgram:
    """The model's graph as torch's ONNX program, with the output "logits".

    Args:
        model: In evaluation mode, on the CPU.
        inputs: Examples.
        names: Of the inputs.
        dynamic: torch's `dynamic_shapes`; None: the shapes of the examples and no others.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the exporter's packages deprecate differs by Python
        program = torch.onnx.export(
            model,
            inputs,
            dynamo=True,
            input_names=list(names),
            output_names=["logits"],
            dynamic_shapes=dynamic,
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces, with the folders of the machine that exports
    return program


def write_program(path: Path, model: nn.Module, card: ModelCard) -> None:
    """Write a model as a program of torch.export: images (B, 3, H, W) in, logits (B, C) out, for any B.

    What `told_beside` says lies in it too, as the extra files that `torch.export.load` reads.
    """
    size = card.geometry.img_size
    example = torch.zeros(2, 3, size, size)
    program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            for key in TRACES & node.meta.keys():
                del node.meta[key]
    torch.export.save(program, path, extra_files=told_beside(card))


def open_program(path: Path) -> Callable[[Tensor], Tensor]:
    """A file of torch.export as a function: images (B, 3, H, W) to logits (B, C)."""
    return torch.export.load(path).module()


def told_beside(card: ModelCard) -> dict[str, str]:
    """What another program must know to use the file, as JSON: "classes" in the order of the logits, "normalisation".

    A photo's short side is resized to floor(size / crop_pct) and size x size pixels are cut from its centre.
    """
    normalisation = {"size": card.geometry.img_size, "input": "RGB in [0, 1], then (x - mean) / std, channels first"}
    return {
        "classes": json_text([asdict(name) for name in card.classes]),
        "normalisation": json_text({**normalisation, **plain(card.normalisation)}),
    }


def onnx_session(path: Path) -> Callable[[Tensor], Tensor]:
    """An ONNX file as a function, run by onnxruntime on the CPU: images (B, 3, H, W) to logits (B, C)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])
