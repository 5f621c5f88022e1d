"""A dense model on the Architecture page: a button that puts gates into it and scores them, with nothing trained."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import streamlit as st

from core.config import ModelSpec
from core.errors import InputError
from core.images import open_photo
from core.scored import make_scored
from core.single_path.score import LEAST_PHOTOS
from core.weights import save_checkpoint
from pages import _many_files, _models, _shared, _url
from pages._jobs import Handle, Work

SAMPLES = "Sample pictures"
OWN = "Your photos"


def show_scoring(name: str) -> None:
    """What scoring is, on which photos, the button, its progress, and the way to what came of it."""
    st.markdown(
        "This model is dense: which of its layers it can do without is not known yet. **Scoring** finds out without "
        "training: each hidden unit of each FFN by how far the model's own answer moves when the unit stands at its "
        "mean, each attention by putting a 3x3 convolution, a 1x1 convolution or nothing in its place. No labels are "
        "needed. Then any budget can be set."
    )
    own = _many_files.batch().photos
    photos = None
    if len(own) >= LEAST_PHOTOS:
        where = st.segmented_control("Score on", [SAMPLES, OWN], default=SAMPLES, key="score_on", required=True)
        photos = [data for _, data in own] if where == OWN else None
    else:
        st.caption(
            f"It runs on cuts of the sample pictures; load {LEAST_PHOTOS} or more photos of your own on Compare, under "
            "“Many photos”, to score on those."
        )
    key = (name, "" if photos is None else hashlib.sha256(b"".join(photos)).hexdigest())
    found = _shared.scorings().standing(key)
    if found is not None and found.state == "done" and Path(found.result).is_file():
        st.success("The gates are scored. Not trained: agreement with the dense model tells how good it is.")
        icon = ":material/account_tree:"
        st.button("Show its architecture", icon=icon, on_click=_open, args=(found.result,), type="primary")
        return
    if found is not None and found.under_way:
        _shared.scorings().ask(key, _shared.visitor(), partial(_work, key, photos))
        st.fragment(_watch, run_every=1.0)(key)
        return
    if found is not None and found.failure:
        st.error(found.failure, icon=":material/error:")
    elif found is not None and found.state == "cancelled":
        st.info("Scoring was cancelled.", icon=":material/info:")
    st.button(
        "Score its gates", key="score", icon=":material/calculate:", on_click=_start, args=(key, photos), type="primary"
    )
    st.markdown(f"In a terminal: `python -m core score --model {name} --out scored.safetensors --photos DIR`.")


def _open(path: str) -> None:
    """List the scored model in this session and choose it."""
    _models.open_file(path, st.session_state.get("class_names", {}).get(path))
    _url.put("model", path)


def _start(key: tuple[str, str], photos: Sequence[bytes] | None) -> None:
    _shared.scorings().ask(key, _shared.visitor(), partial(_work, key, photos), again=True)


def _work(key: tuple[str, str], photos: Sequence[bytes] | None) -> Work:
    """What scores the model and writes it into this server's own folder."""
    dense, shares = _shared.loaded(ModelSpec(key[0])), _shared.scoring_shares()
    short = hashlib.sha256(repr(key).encode()).hexdigest()[:8]
    path = _shared.scored_folder() / f"{Path(key[0]).stem}-scored-{short}.safetensors"

    def work(handle: Handle) -> str:
        def tell(share: float, doing: str) -> None:
            handle.check()
            shares[key] = share, doing

        pictures = None if photos is None else [picture for data in photos if (picture := _opened(data)) is not None]
        made = make_scored(dense, pictures, on_share=tell)
        save_checkpoint(path, made.model, made.card, half=False)
        return str(path)

    return work


def _opened(data: bytes) -> object | None:
    """The photo, or None where it cannot be read: Compare has said so of it."""
    try:
        return open_photo(data)
    except InputError:
        return None


def _watch(key: tuple[str, str]) -> None:
    """Each second: how far it is, with a way to end it."""
    found = _shared.scorings().standing(key)
    if found is None or not found.under_way:
        st.rerun()
    if found.state == "ending":
        st.markdown("Cancelling …")
        return
    share, doing = _shared.scoring_shares().get(key, (0.0, "starting"))
    waiting = f"Waiting, {found.before} before it" if found.before else f"Scoring: {doing}"
    st.progress(min(1.0, share), waiting)
    st.button("Cancel", key="cancel scoring", icon=":material/close:", on_click=_shared.scorings().cancel, args=(key,))
