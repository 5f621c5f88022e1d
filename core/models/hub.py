"""Models of anybody's on the hub, by name: `hf-hub:user/model`, as timm has it; two files are fetched and read here.

Nothing of the hub's runs: the weights are read as any file's are, and the config.json beside them says what they are of
(`core.models.releases.told`).
"""

import re
from pathlib import Path

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from core.errors import InputError, printable
from core.models.releases.fetch import check_hub

PREFIX = "hf-hub:"
CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""What timm calls them there; the first one that there is."""
_REPOSITORY = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def is_of_hub(name: str) -> bool:
    """Whether a name means a repository of the hub."""
    return name.startswith(PREFIX)


def hub_file(name: str, *, fetch: bool = False) -> Path:
    """The weights file of a repository, with its config.json beside it.

    Args:
        name: `hf-hub:user/model`, of a certain revision `hf-hub:user/model@revision`.
        fetch: Get the files that are not on this machine.

    Raises:
        InputError: If the name names no repository, its files are not here, or the hub does not give them.
    """
    found = _REPOSITORY.fullmatch(name.removeprefix(PREFIX))
    if found is None:
        raise InputError(f"{printable(name, 80)} names no repository of the hub; give {PREFIX}user/model.")
    repo, revision = found.groups()
    for file in WEIGHTS:
        weights, config = (try_to_load_from_cache(repo, each, revision=revision) for each in (file, CONFIG))
        if isinstance(weights, str) and isinstance(config, str):
            return Path(weights)
    if not fetch:
        raise InputError(f"{name} is not on this machine; `python -m core fetch {name}` gets it, with a network.")
    check_hub()
    try:
        hf_hub_download(repo, CONFIG, revision=revision)
        try:
            return Path(hf_hub_download(repo, WEIGHTS[0], revision=revision))
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            return Path(hf_hub_download(repo, WEIGHTS[1], revision=revision))
    except Exception as error:  # whatever the hub's client raises: no such repository, a gated one, a lost connection
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            raise InputError(
                f"{repo} on the hub has no {CONFIG} with {' or '.join(WEIGHTS)}, so it holds no model as timm stores "
                "them."
            ) from error
        raise InputError(
            f"{repo} cannot be fetched from the hub ({type(error).__name__}); check its name and the network."
        ) from error
