"""What a page shows, as command lines and as lines of Python that give the same numbers."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core.config import ModelSpec, words_of
from core.models.hub_format import push_command
from core.models.load import Loaded
from core.photos.crop import Crop


def command_line(
    verb: str, loaded: Loaded, photo: str | None = None, classes: str | None = None, crop: Crop | None = None
) -> str:
    """One command of `python -m core` for a model with its settings.

    Args:
        verb: "predict", "describe" or "evaluate"; the last with DIR where the person's photos go.
        loaded: The model.
        photo: File for `predict`.
        classes: File with its class names, where it goes by other names than its own.
        crop: The square of that photo.
    """
    words = [verb]
    if verb == "predict":
        words += [photo or "PHOTO", *([] if crop is None else ["--crop", str(crop)])]
    words += ["--model", loaded.spec.name, *words_of(loaded.spec, loaded.dense_macs)]
    if classes is not None and verb != "describe":
        words += ["--classes", classes]
    if verb == "evaluate":
        words += ["--data", "DIR"]
    return f"python -m core {shlex.join(words)}"


def hub_lines(dense: Loaded, folder: str = "my-model") -> str:
    """Two commands: one writes a dense model as timm reads it from the Hugging Face hub, one is its owner's to run."""
    words = ["export", "--model", dense.spec.name, "--hub-format", "--out", folder]
    return f"python -m core {shlex.join(words)}\n{push_command(Path(folder))}"


@dataclass(frozen=True)
class Lines:
    """Python that gives the numbers of a view, in parts that run one after the other."""

    imports: tuple[str, ...]
    """Of this package."""
    photo: str
    """Reads the picture."""
    models: tuple[tuple[str, ...], ...]
    """Per model: prints its numbers, and leaves `model`, `answer` and `macs` behind, with selectors `trace` too."""


def python_lines(
    models: Sequence[Loaded],
    photo: str,
    classes: Sequence[str | None] | None = None,
    crop: Crop | None = None,
) -> str:
    """Lines of Python that print top-5 and multiply-adds of each model, and the patches that it keeps.

    Args:
        models: One or more.
        photo: The picture's file.
        classes: Per model the file with its class names, or None where it goes by its own.
        crop: The square of the picture that the models see.
    """
    parts = python_parts(models, f"Path({quoted(photo)})", classes, crop)
    each = [line for lines in parts.models for line in ("", *lines)]
    return "\n".join(["from pathlib import Path", "", *parts.imports, "", parts.photo, *each])


def python_parts(
    models: Sequence[Loaded],
    photo: str,
    classes: Sequence[str | None] | None = None,
    crop: Crop | None = None,
) -> Lines:
    """The same in parts; `photo` is Python for the picture's path, and `Path` is imported by who uses them."""
    files = classes or [None] * len(models)
    methods = {"trace_tokens" if loaded.card.selectors is not None else "macs_of, predict" for loaded in models}
    naming = any(file is not None for file in files)
    imports = ["from core.models.load import load"]
    imports += ["from core.models.class_lists import read_classes, with_classes"] if naming else []
    imports += ["from core.config import ModelSpec", "from core.photos.image import open_photo"]
    imports += [] if crop is None else ["from core.photos.crop import Crop"]
    imports += [f"from core.inference.trace import {', '.join(sorted(methods))}"]
    square = "" if crop is None else f", Crop({str(crop).replace(',', ', ')})"
    each = [_of_model(loaded, file) for loaded, file in zip(models, files, strict=True)]
    return Lines(tuple(imports), f"photo = open_photo({photo}.read_bytes(){square})", tuple(each))


def _of_model(loaded: Loaded, file: str | None) -> tuple[str, ...]:
    """What `Lines` has of one model, which goes by the class names in a file."""
    call = f"load({_constructor(loaded.spec)})"
    named = call if file is None else f"with_classes({call}, read_classes(Path({quoted(file)})))"
    if loaded.card.selectors is not None:
        lines = ["trace = trace_tokens(model, photo)", "answer, macs = trace.prediction, trace.macs.total"]
        lines += ["print(macs, trace.kept_counts)"]
    else:
        lines = ["answer, macs = predict(model, photo), macs_of(model).total", "print(macs)"]
    return (f"model = {named}", *lines, "for guess in answer.top():", "    print(guess.label, guess.prob)")


def _constructor(spec: ModelSpec) -> str:
    """The spec as Python, what stands at its default left out."""
    usual = asdict(ModelSpec(spec.name))
    given = [f"{field}={value!r}" for field, value in asdict(spec).items() if value != usual[field]]
    return f"ModelSpec({', '.join([quoted(spec.name), *given])})"


def quoted(text: str) -> str:
    """A text as Python writes it, in double quotes."""
    return json.dumps(text, ensure_ascii=False)
