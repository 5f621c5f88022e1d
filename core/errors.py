"""The one exception that means: the person can put this right."""


class InputError(ValueError):
    """Wrong input from a person; the message is one sentence that says what is wrong and what to do.

    The command line prints it and exits 2; the pages show it and go on working. Any other exception
    is a bug of ours.
    """


class FileNote(UserWarning):
    """What a weights file does not say and how it is taken: a sentence that the person must see."""


def printable(text: str, most: int = 200) -> str:
    """A text of a file or a link as a sentence can hold it: on one line, valid Unicode, at most `most` characters."""
    whole = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: most + 1])
    return whole if len(whole) <= most else f"{whole[: most - 1]}…"


def not_here(name: str) -> InputError:
    """What to say where a model's weights would have to be downloaded first."""
    return InputError(f"The weights of {name} are not on this machine; download them once, or choose a bundled model.")
