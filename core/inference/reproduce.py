"""What a page shows, as command lines and as lines of Python that give the same numbers."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict

from core.config import ModelSpec
from core.models.load import Loaded


def command_line(verb: str, loaded: Loaded, photo: str | None = None, classes: str | None = None) -> str:
    """One command of `python -m core` for a model with its settings.

    Args:
        verb: "predict", "describe" or "evaluate"; the last with DIR where the person's photos go.
        loaded: The model.
        photo: File for `predict`.
        classes: File with its class names, where it goes by other names than its own.
    """
    words = ["python", "-m", "core", verb]
    if verb == "predict":
        words.append(photo or "PHOTO")
    words += ["--model", loaded.spec.name, *_flags(loaded)]
    if classes is not None and verb != "describe":
        words += ["--classes", classes]
    if verb == "evaluate":
        words += ["--data", "DIR"]
    return shlex.join(words)


def python_lines(models: Sequence[Loaded], photo: str, classes: Sequence[str | None] | None = None) -> str:
    """Lines of Python that print top-5 and multiply-adds of each model, and the patches that it keeps.

    Args:
        models: One or more.
        photo: The picture's file.
        classes: Per model the file with its class names, or None where it goes by its own.
    """
    files = classes or [None] * len(models)
    methods = {"trace_tokens" if loaded.card.selectors is not None else "macs_of, predict" for loaded in models}
    naming = any(file is not None for file in files)
    lines = ["from pathlib import Path", "", "from core.models.load import load"]
    lines += ["from core.models.class_lists import read_classes, with_classes"] if naming else []
    lines += ["from core.config import ModelSpec", "from core.photos.image import open_photo"]
    lines += [f"from core.inference.trace import {', '.join(sorted(methods))}", ""]
    lines += [f"photo = open_photo(Path({_quoted(photo)}).read_bytes())"]
    for loaded, file in zip(models, files, strict=True):
        call = f"load({_constructor(loaded.spec)})"
        lines += [
            "",
            f"model = {call if file is None else f'with_classes({call}, read_classes(Path({_quoted(file)})))'}",
        ]
        if loaded.card.selectors is not None:
            lines += ["trace = trace_tokens(model, photo)", "answer, macs = trace.prediction, trace.macs.total"]
            lines += ["print(macs, trace.kept_counts)"]
        else:
            lines += ["answer, macs = predict(model, photo), macs_of(model).total", "print(macs)"]
        lines += ["for guess in answer.top():", "    print(guess.label, guess.prob)"]
    return "\n".join(lines)


def _constructor(spec: ModelSpec) -> str:
    """The spec as Python, what stands at its default left out."""
    usual = asdict(ModelSpec(spec.name))
    given = [f"{field}={value!r}" for field, value in asdict(spec).items() if value != usual[field]]
    return f"ModelSpec({', '.join([_quoted(spec.name), *given])})"


def _quoted(text: str) -> str:
    """A text as Python writes it, in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _flags(loaded: Loaded) -> list[str]:
    """Settings as flags; a budget in whole or tenth percent of dense where it is that, else in GMACs."""
    spec, flags = loaded.spec, []
    if spec.budget is not None:
        share = round(100 * spec.budget / loaded.dense_macs, 1)
        exact = abs(share * loaded.dense_macs / 100 - spec.budget) <= 1e-9 * spec.budget
        flags += ["--budget", f"{share:g}%" if exact else repr(spec.budget / 1e9)]
    if spec.keep is not None:
        flags += ["--keep", ",".join(map(repr, spec.keep))]
    if spec.threshold is not None:
        flags += ["--threshold", repr(spec.threshold)]
    if spec.heads is not None:
        flags += ["--heads", ",".join(map(str, spec.heads))]
    flags += [] if spec.arch is None else ["--arch", spec.arch]
    flags += [] if spec.img_size is None else ["--img-size", str(spec.img_size)]
    return flags
