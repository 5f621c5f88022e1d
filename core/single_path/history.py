"""How the gates of a search moved: kept beside the weights as they are learned, so that it can be drawn."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from core.costs.geometry import Geometry
from core.errors import InputError
from core.files import publish
from core.single_path.searched import GateHistory, Gates

SNAPSHOTS_PER_EPOCH = 8


def history_file(weights: Path) -> Path:
    """Where the history of the gates in this weights file lies, if there is one."""
    return weights.with_name(f"{weights.stem}-gates.safetensors")


def add_snapshot(path: Path, epoch: float, gates: Gates) -> None:
    """Append the gates of one moment, atomically; moments from `epoch` on (of a run that was cut off) are dropped.

    Args:
        path: From `history_file`.
        epoch: Epochs passed, with fraction.
        gates: Of that moment.

    Raises:
        InputError: If the file is damaged.
    """
    rows = {
        "epochs": np.array([epoch], np.float64),
        "mixer_logits": gates.mixer_logits[None].astype(np.float16),
        "ffn_logits": np.concatenate(gates.ffn_logits)[None].astype(np.float16),  # (1, sum of F)
    }
    if path.exists():
        try:
            before = load_file(str(path))
        except SafetensorError as error:
            raise InputError(f"{path} is damaged; remove it, and the history of the gates begins anew.") from error
        earlier = before["epochs"] < epoch
        before["ffn_logits"] = _in_a_row(before["ffn_logits"])
        rows = {key: np.concatenate((before[key][earlier], rows[key])) for key in rows}
    temporary = path.with_name(path.name + ".tmp")
    save_file(rows, str(temporary))
    publish(temporary, path)


def read_history(path: Path, geometry: Geometry) -> GateHistory | None:
    """The history in this file, None if there is no file.

    Raises:
        InputError: If the file is damaged, or of a model of another geometry.
    """
    if not path.is_file():
        return None
    try:
        rows = load_file(str(path))
        units = _in_a_row(rows["ffn_logits"]).astype(np.float64)  # (K, sum of F)
        return GateHistory(
            geometry,
            rows["epochs"],
            rows["mixer_logits"].astype(np.float64),
            tuple(np.split(units, np.cumsum(geometry.ffn_widths)[:-1], axis=1)),
        )
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is no history of this model's gates; copy it again, or remove it.") from error


def _in_a_row(ffn_logits: np.ndarray) -> np.ndarray:
    """FFN logits (K, sum of F), the blocks one after the other; older files have them as (K, L, F)."""
    return ffn_logits.reshape(len(ffn_logits), -1)
