"""What a model's name says: its source, its dense sibling, whether it was trained; and files that are opened."""

from pathlib import Path

import streamlit as st

from core.config import ModelSpec
from core.methods import DENSE, Kind
from core.models import registry
from core.models.class_lists import with_classes
from core.models.releases.files import released_names
from core.results import ClassName
from pages.parts.shared import runs
from pages.server import forget, models


def look_again() -> None:
    """Forget what can be loaded, since that has changed."""
    models.listed.clear()


def predicts(spec: ModelSpec) -> bool:
    """Whether the model's predictions may be shown: a search that has not got far enough has gates to show, no more."""
    return models.loaded(spec).card.fit_to_predict


def dense_of(name: str) -> str | None:
    """The dense model that a pruned one is compared with: the one of the same source and family."""
    own = next((entry for entry in models.offered() if entry.name == name), None)
    if own is None or not own.kind.pruned:
        return name
    if own.source == "released":
        return _backbone_of(name)
    if own.source == "file":
        return _said_dense(name) or alike(name, DENSE)
    same = [
        e.name
        for e in models.offered()
        if (e.kind, e.source, e.family, e.available) == (DENSE, own.source, own.family, True)
    ]
    return same[0] if same else None


def _said_dense(name: str) -> str | None:
    """The dense model that a file says it was made of, if it is on this machine or opened here."""
    said = models.loaded(ModelSpec(name)).card.training.get("dense")
    return next((e.name for e in models.offered() if (e.name, e.kind, e.available) == (said, DENSE, True)), None)


def _backbone_of(name: str) -> str | None:
    """timm's dense model that a released one was made of, if it is on this machine."""
    start = released_names()[name][0].backbone + "."
    return next(
        (e.name for e in models.offered() if e.source == "timm" and e.available and e.name.startswith(start)), None
    )


def alike(name: str, kind: Kind) -> str | None:
    """A model of this kind, bundled or opened here, of the same family, input and classes; itself if it is one."""
    own, found = models.loaded(ModelSpec(name)).card, models.offered()
    for entry in sorted(found, key=lambda entry: entry.name != name):
        if entry.kind == kind and entry.source in ("bundled", "file") and entry.available:
            card = models.loaded(ModelSpec(entry.name)).card
            if (card.family, card.classes, card.geometry.img_size) == (own.family, own.classes, own.geometry.img_size):
                return entry.name
    return None


def source_of(name: str) -> str | None:
    """Where a model comes from; see `core.models.registry.ModelEntry`."""
    return next((entry.source for entry in models.offered() if entry.name == name), None)


def never_trained(spec: ModelSpec) -> bool:
    """Whether the weights are those that a model starts from; those of others do not say, and count as trained."""
    return source_of(spec.name) in ("bundled", "file") and not models.loaded(spec).card.training


def open_file(path: str, classes: tuple[str, tuple[ClassName, ...]] | None) -> registry.ModelEntry:
    """Read a weights file and list it in this session, in place of an earlier one of this path.

    Args:
        path: On the server's machine.
        classes: The name of a file with class names and those in it; None: as the weights file says.

    Raises:
        InputError: If it cannot be read, or the names are not as many as its classes.
    """
    _forget_if_changed(path)
    found = models.load_once(ModelSpec(path))
    if classes:
        found = with_classes(found, classes[1])
    st.session_state.setdefault("class_names", {})[path] = classes
    entry = registry.entry_of_file(path, found.card)
    st.session_state["files"] = st.session_state.get("files", {}) | {path: entry}
    runs.forget_photo()  # what was computed may carry other names
    return entry


def _forget_if_changed(path: str) -> None:
    """Drop what was read from a file that has changed on the disk since, and all that was computed from it."""
    try:
        stat = Path(path).stat()
    except (OSError, ValueError):  # no such file, or a name that no file can have
        return  # whoever reads it says so
    stamp = (stat.st_mtime_ns, stat.st_size)
    if models.stamps().setdefault(path, stamp) != stamp:
        models.stamps()[path] = stamp
        forget.forget_model(path)
