"""What a page shows, as command lines and as lines of Python that give the same numbers."""

import shlex
from collections.abc import Sequence

from core.checkpoints import Loaded
from core.config import ModelSpec

PYTHON_HEAD = """\
from pathlib import Path

from core.checkpoints import load
{imports}from core.config import ModelSpec
from core.images import open_photo
from core.trace import macs_of, predict, trace_tokens

photo = open_photo(Path({photo!r}).read_bytes())
"""


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
    named = any(file is not None for file in files)
    text = PYTHON_HEAD.format(
        imports="from core.class_lists import read_classes, with_classes\n" if named else "", photo=photo
    )
    for loaded, file in zip(models, files, strict=True):
        call = f"load({_constructor(loaded.spec)})"
        text += f"\nmodel = {call if file is None else f'with_classes({call}, read_classes(Path({file!r})))'}\n"
        if loaded.method == "tokens":
            text += "trace = trace_tokens(model, photo)\n"
            text += "print(trace.prediction.top(), trace.macs.total, trace.kept_counts)\n"
        else:
            text += "print(predict(model, photo).top(), macs_of(model).total)\n"
    return text.rstrip("\n")


def _constructor(spec: ModelSpec) -> str:
    """The spec as Python, what stands at its default left out."""
    usual = ModelSpec(spec.name)
    set_here = [field for field in ("budget", "keep", "threshold", "packaging") if _differs(spec, usual, field)]
    return f"ModelSpec({', '.join([repr(spec.name), *(f'{field}={getattr(spec, field)!r}' for field in set_here)])})"


def _differs(spec: ModelSpec, usual: ModelSpec, field: str) -> bool:
    return getattr(spec, field) != getattr(usual, field)


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
    return flags
