"""Names for a model's classes from a text file, one a line: for weights that do not say what they know."""

from dataclasses import replace
from pathlib import Path

from core.errors import InputError
from core.models.cards import class_names
from core.models.load import Loaded
from core.results import ClassName

MAX_CHARACTERS = 100
"""Of one name."""
ONE_A_LINE = "give a text file with one class name a line, in the order of the model's answers"


def read_classes(path: Path) -> tuple[ClassName, ...]:
    """The class names in a text file.

    Raises:
        InputError: If it cannot be read; see `parse_classes`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"The class names {path} cannot be read ({error.strerror}); {ONE_A_LINE}.") from error
    return parse_classes(data)


def parse_classes(data: bytes) -> tuple[ClassName, ...]:
    """The class names in the bytes of a text file; a WordNet id such as n02123045 gets its description.

    What follows " #" is a remark; empty lines at the end do not count.

    Raises:
        InputError: If it is no text, is empty, or a line names no class.
    """
    try:
        lines = data.decode("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"The file with the class names is no UTF-8 text; {ONE_A_LINE}.") from error
    if not lines:
        raise InputError(f"The file with the class names is empty; {ONE_A_LINE}.")
    names = [line.partition(" #")[0].strip() for line in lines]
    for number, name in enumerate(names, start=1):
        if not name or not name.isprintable():
            raise InputError(f"Line {number} of the class names is no name; {ONE_A_LINE}.")
        if len(name) > MAX_CHARACTERS:
            raise InputError(f"Line {number} of the class names is longer than {MAX_CHARACTERS} letters; {ONE_A_LINE}.")
    return class_names(names)


def with_classes(loaded: Loaded, classes: tuple[ClassName, ...]) -> Loaded:
    """The same model under other class names; the weights are shared.

    Raises:
        InputError: If there are not as many names as classes.
    """
    known = loaded.card.geometry.classes
    if len(classes) != known:
        raise InputError(
            f"There are {len(classes):,} class names, but the model knows {known:,} classes; give one name a line, "
            "in the order of the model's answers."
        )
    return replace(loaded, card=replace(loaded.card, classes=classes))
