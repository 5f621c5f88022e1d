"""The one exception that means: the person can put this right."""


class InputError(ValueError):
    """Wrong input from a person; the message is one sentence that says what is wrong and what to do.

    The command line prints it and exits 2; the pages show it and go on working. Any other exception
    is a bug of ours.
    """


def not_here(name: str) -> InputError:
    """What to say where a model's weights would have to be downloaded first."""
    return InputError(f"The weights of {name} are not on this machine; download them once, or choose a bundled model.")
