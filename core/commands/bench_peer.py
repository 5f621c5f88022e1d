"""`bench --peer`: code of others that patches a timm model, beside ours at the same MACs."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from core.benchmarks.peer import compare_peer
from core.commands.requests import BenchRequest
from core.commands.shared import Progress, pick_device
from core.costs.deit import DEIT
from core.errors import InputError
from core.results.timings import PeerRow

USUAL = "deit_small_patch16_224"


def run_peer(args: BenchRequest, batches: Sequence[int]) -> tuple[dict, str]:
    """Dense, the peer and ours in turns.

    JSON: {"rows": [the fields of `core.results.timings.PeerRow`, and "model"]}.

    Raises:
        InputError: If the flags do not fit, or see `compare_peer`.
    """
    assert args.peer is not None  # as it is asked for
    names = args.model or (USUAL,)
    for name in names:
        if name not in DEIT:
            raise InputError(f"--peer is timed on a model of timm's with random weights; choose {', '.join(DEIT)}.")
    settings, line, rows, lines = _settings(args.peer_settings), Progress(), [], []
    for name in names:
        for batch in batches:
            line.show(f"{name}, batch {batch}: dense, {args.peer} and ours …")
            row = compare_peer(
                args.peer,
                settings,
                DEIT[name],
                batch=batch,
                repeats=args.repeats,
                device=pick_device(args.device),
            )
            line.clear()
            rows.append({"model": name, **asdict(row)})
            lines.append(f"{name}, {_text(row)}")
    return {"rows": rows}, "\n".join(lines)


def _settings(text: str | None) -> dict[str, object]:
    """The peer's settings from a JSON object.

    Raises:
        InputError: If it is none.
    """
    try:
        found = json.loads(text or "{}")
        if not isinstance(found, dict):
            raise ValueError
    except ValueError as error:
        raise InputError(f"""--peer-settings takes a JSON object such as '{{"r": 13}}'; not {text}.""") from error
    return found


def _text(row: PeerRow) -> str:
    keep = ", ".join(f"{share:.3f}" for share in row.keep)
    said = ", ".join(f"{name} {ms:.1f} ms ({row.speedup[name]:.2f})" for name, ms in row.ms.items())
    return (
        f"batch {row.batch}, {row.device}, {row.threads} threads, float32, random weights: {said}. In brackets "
        f"speed-ups over dense; the peer costs {row.macs / 1e9:.4g} GMACs by torch's counter, which is "
        f"{row.mac_ratio:.2f} times less than dense; ours cost the same, keeping {keep}."
    )
