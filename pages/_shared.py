"""The only caches of the pages, and the locks: what is loaded, what models said, what budgets make."""

import atexit
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from uuid import uuid4

import streamlit as st
from PIL import Image
from streamlit.runtime.scriptrunner import get_script_run_ctx

from core.baselines import trace as peers
from core.baselines.plans import Plan
from core.config import ModelSpec
from core.evaluation.recorded import recorded_evaluations
from core.evaluation.sweep import weights_fingerprint
from core.evaluation.untrained import Record, bundled_record
from core.inference import attribution, removal, rivals, trace
from core.latency import measure as latency
from core.latency.engines import Runner
from core.models import load as checkpoints
from core.models import registry
from core.models.cards import ModelCard
from core.models.class_lists import with_classes
from core.models.load import USUAL_RANKINGS
from core.photos.image import model_view, open_photo, to_tensor
from core.results import Architecture, Prediction, Recorded, TokenTrace
from core.results.attributions import Attribution, Method
from core.results.method_table import MethodTable
from core.results.timings import EAGER, CostCurve, Latency, LatencyTable, PathCosts, StagedCosts
from core.single_path.blocks import read_block
from core.single_path.derive import budget_range, derive
from core.single_path.history import history_file, read_history
from core.single_path.searched import GateHistory, Gates, KernelReading
from core.soft_tokens.decide import decision
from core.soft_tokens.places import patches_of, possible_places, usual_places
from core.soft_tokens.schedules import keep_powers, schedule_macs
from pages._jobs import Jobs
from pages._line import Line
from viz import player
from viz.thumbnails import thumbnail_style

Drawing = TypeVar("Drawing")


@dataclass(frozen=True)
class Sample:
    """One picture of assets/samples."""

    id: str
    file: str
    title: str
    credit: str
    licence: str
    shows: tuple[str, ...]
    """Names that ImageNet's classes have for what it shows; none: it has no such class."""


@st.cache_resource(max_entries=1, show_spinner=False)
def samples() -> tuple[Sample, ...]:
    """The sample pictures with their licences."""
    listed = json.loads((registry.ASSETS / "samples" / "samples.json").read_text())
    kept = [{key: entry[key] for key in Sample.__dataclass_fields__} for entry in listed]
    return tuple(Sample(**entry | {"shows": tuple(entry["shows"])}) for entry in kept)


def sample_of(image_id: str) -> Sample | None:
    """The sample of an id that `pick_picture` gave; None where it is the person's own picture."""
    return next((sample for sample in samples() if image_id == f"sample:{sample.id}"), None)


@st.cache_data(max_entries=1, show_spinner=False)
def thumbnails() -> str:
    """A style sheet that puts each sample picture, small, on its pill."""
    pictures = [open_photo((registry.ASSETS / "samples" / sample.file).read_bytes()) for sample in samples()]
    return thumbnail_style(pictures, ".st-key-pic")


@st.cache_resource(max_entries=1, ttl=60, show_spinner=False)
def listed() -> tuple[registry.ModelEntry, ...]:
    """What can be loaded by name; looked up again each minute, so that a new file shows."""
    return registry.list_models()


def models() -> tuple[registry.ModelEntry, ...]:
    """What can be loaded: by name, and the weights files that this session has opened."""
    return (*listed(), *st.session_state.get("files", {}).values())


@st.cache_resource(max_entries=1, show_spinner=False)
def evaluations() -> tuple[Recorded, ...]:
    """Recorded evaluations of the bundled models."""
    return recorded_evaluations()


@st.cache_resource(max_entries=8, show_spinner=False)
def untrained_of(name: str) -> Record | None:
    """What was recorded of pruning this very dense model untrained; None where nothing was."""
    record = bundled_record()
    if record is None or record.model != name:
        return None
    dense = loaded(ModelSpec(name))
    return record if record.weights == weights_fingerprint(dense.model, dense.card) else None


def _waiting(before: int) -> AbstractContextManager:
    """What a page shows while it waits for its turn; nothing in the first half second, nor where no page waits."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return nullcontext()
    return st.spinner(f"This server is busy: {before} before you …")


@st.cache_resource(max_entries=1, show_spinner=False)
def inference_lock() -> Line:
    """One inference at a time in this process: two at once on two cores are slower than one after the other.

    No lock per model is needed for the answers' sake: a forward pass leaves nothing on a model, and what hangs hooks on
    one, attribution, works on a copy. A measurement holds it too, so that nobody else is timed with it.
    """
    return Line(_waiting)


@st.cache_resource(max_entries=1, show_spinner=False)
def attribution_lock() -> Line:
    """One attribution at a time, beside the inferences: these wait for nobody's seconds of gradients."""
    return Line(_waiting)


@st.cache_resource(max_entries=1, show_spinner=False)
def engine_lock() -> Line:
    """One model is made ready in another engine at a time; only measurements wait for it."""
    return Line(_waiting)


def all_locks() -> tuple[AbstractContextManager, ...]:
    """What a measurement holds, in the order in which they are taken."""
    return engine_lock(), latency.QUIET, attribution_lock(), inference_lock()


@st.cache_resource(max_entries=1, show_spinner=False)
def measurements() -> Jobs[PathCosts | StagedCosts | LatencyTable | CostCurve]:
    """By model, what its parts take here, one measured after the other; see `pages._parts`."""
    return Jobs()


@st.cache_resource(max_entries=1, show_spinner=False)
def engines() -> Jobs[Runner]:
    """By spec and engine, a model made ready in it for one photo at a time; see `pages._engines`."""
    return Jobs(most=12)


@st.cache_resource(max_entries=1, show_spinner=False)
def downloads() -> Jobs[None]:
    """By name, the weights that are being fetched; see `pages._downloads`."""
    return Jobs(at_once=4)


@st.cache_resource(max_entries=1, show_spinner=False)
def scorings() -> Jobs[str]:
    """By dense model and photos, the file of the scored model; see `pages._scoring`."""
    return Jobs(most=50)


@st.cache_resource(max_entries=1, show_spinner=False)
def scoring_shares() -> dict[Any, tuple[float, str]]:
    """How far each of them is, 0 to 1, and what is being done."""
    return {}


@st.cache_resource(max_entries=1, show_spinner=False)
def comparisons() -> Jobs[tuple[MethodTable, str]]:
    """By dense model and photos, how its methods compare, and what gates were scored on; see `pages._comparing`."""
    return Jobs(most=50)


@st.cache_resource(max_entries=1, show_spinner=False)
def comparing_shares() -> dict[Any, tuple[float, str]]:
    """How far each of them is, as `scoring_shares`."""
    return {}


@st.cache_resource(max_entries=1, show_spinner=False)
def scored_folder() -> Path:
    """Where this server keeps what it scored, until it ends."""
    folder = TemporaryDirectory(prefix="prunescope-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _left(who: str) -> None:
    """A session has ended: what it alone asked for ends too."""
    for jobs in (measurements(), engines(), downloads(), scorings(), comparisons()):
        jobs.leave(who)


@st.cache_resource(max_entries=64, show_spinner=False, scope="session", on_release=_left)
def present(who: str) -> str:
    """A session that is there; dropped when it ends."""
    return who


def visitor() -> str:
    """A name of this session, under which it asks for what goes on beside the pages."""
    return present(st.session_state.setdefault("visitor", uuid4().hex))


@st.cache_resource(max_entries=8, show_spinner="Loading the model …")
def load_once(spec: ModelSpec) -> checkpoints.Loaded:
    """One object for all sessions: evaluation mode, read-only."""
    if spec.keep is not None or spec.threshold is not None or spec.mass is not None:
        return checkpoints.redecided(load_once(ModelSpec(spec.name)), spec)
    if spec.budget is None:
        with inference_lock():
            return checkpoints.load(spec)
    module, card = _stored(spec.name)
    with inference_lock():
        return checkpoints.finish(spec, card, module)


@st.cache_resource(max_entries=2, show_spinner=False)
def _stored(name: str) -> tuple[Any, ModelCard]:
    """A model as its file has it: what each budget's form is made of, in a third of the time that reading takes."""
    with inference_lock():
        return checkpoints.read_model(name)


def loaded(spec: ModelSpec) -> checkpoints.Loaded:
    """The model, shared by all sessions; under the class names that this session gave it, if it did."""
    names = st.session_state.get("class_names", {}).get(spec.name)
    return with_classes(load_once(spec), names[1]) if names else load_once(spec)


@st.cache_data(max_entries=8, scope="session", show_spinner=False)
def photo(image_id: str) -> Image.Image:
    """The picture of an id that `pick_picture` gave."""
    kind, _, name = image_id.partition(":")
    if kind == "upload":
        return open_photo(st.session_state["uploaded"][name])
    return open_photo((registry.ASSETS / "samples" / sample_of(image_id).file).read_bytes())


def view(spec: ModelSpec, image_id: str) -> Image.Image:
    """The square of the photo that the model looks at."""
    return model_view(photo(image_id), loaded(ModelSpec(spec.name)).card)


@st.cache_data(max_entries=8, scope="session", show_spinner=False)
def photo_url(name: str, image_id: str) -> str:
    """The square of the photo that a model looks at, for the player."""
    return player.photo_url(view(ModelSpec(name), image_id))


@contextmanager
def holding(locks: Sequence[AbstractContextManager]) -> Iterator[None]:
    """For `with`: all of these, taken in their order."""
    with ExitStack() as held:
        for lock in locks:
            held.enter_context(lock)
        yield


@contextmanager
def alone() -> Iterator[None]:
    """For `with`: no inference, attribution or compiler of others meanwhile. Load models before, never inside."""
    with holding(all_locks()):
        yield


@st.cache_data(max_entries=128, scope="session", show_spinner=False)
def token_trace(spec: ModelSpec, image_id: str) -> TokenTrace:
    """Which patches of the photo the model keeps."""
    model, decide = deciding(spec)
    with inference_lock():
        return trace.trace_tokens(model, photo(image_id), decide)


def deciding(spec: ModelSpec) -> tuple[checkpoints.Loaded, Any]:
    """The model with selectors behind a spec, one in memory however it is to decide, and how it decides."""
    model = loaded(bare(spec))
    return model, decision(spec, len(model.card.selectors.blocks), model.model.patches)


@st.cache_data(max_entries=16, scope="session", show_spinner="Running the model …")
def rival_trace(spec: ModelSpec, image_id: str, rival: rivals.Rival) -> TokenTrace:
    """The photo with as many patches kept as `spec` keeps, chosen another way."""
    model, ours = deciding(spec)[0], token_trace(spec, image_id)
    with inference_lock():
        return rivals.rival_trace(model, photo(image_id), ours, rival)


@st.cache_data(max_entries=24, scope="session", show_spinner="Running the model …")
def peer_trace(dense: str, image_id: str, plan: Plan) -> peers.PeerTrace:
    """The photo under another method on a dense model."""
    model = loaded(ModelSpec(dense))
    with inference_lock():
        return peers.trace_peer(model, photo(image_id), plan)


@st.cache_data(max_entries=16, scope="session", show_spinner="Measuring; others wait meanwhile …")
def peer_latency(spec: ModelSpec, dense: str, image_id: str, plans: tuple[Plan, ...], turn: int) -> tuple[Latency, ...]:
    """Dense, pruned and each plan on the photo, taking turns; another `turn` measures again."""
    (pruned, decide), model = deciding(spec), loaded(ModelSpec(dense))
    with alone():
        return peers.peer_latency(model, pruned, decide, photo(image_id), plans)


@st.cache_data(max_entries=16, scope="session", show_spinner="Measuring; others wait meanwhile …")
def removal_of(spec: ModelSpec, image_id: str, turn: int) -> removal.Removal:
    """Masked against removed tokens on the photo; another `turn` measures again."""
    model, decide = deciding(spec)
    with alone():
        return removal.compare_removal(model, to_tensor(photo(image_id), model.card), decide)


@st.cache_data(max_entries=64, scope="session", show_spinner="Running the model …")
def prediction(spec: ModelSpec, image_id: str) -> Prediction:
    """What the model says about the photo."""
    model = loaded(spec)  # not under the lock: whoever loads it waits for the lock, and we would wait for them
    with inference_lock():
        return trace.predict(model, photo(image_id))


@st.cache_data(max_entries=48, scope="session", show_spinner=False)
def attributed_once(spec: ModelSpec, image_id: str, class_index: int, method: Method) -> Attribution:
    model = loaded(spec)
    with attribution_lock():
        return attribution.attribute(model, photo(image_id), class_index, method)


@st.cache_data(max_entries=16, scope="session", show_spinner="Measuring; others wait meanwhile …")
def measured(
    specs: tuple[ModelSpec, ...], image_id: str, turn: int, engine: str = EAGER, _ready: Sequence[Runner] = ()
) -> tuple[Latency, ...]:
    """Latency of each model on the photo, taking turns; another `turn` measures again.

    In eager torch, and behind those, for another engine, in that: as `_ready` for it.
    """
    models_ = [loaded(spec) for spec in specs]
    engines_ = [EAGER] * len(specs) + [engine] * len(_ready)
    with alone():
        return latency.measure_latency(
            [*(m.model for m in models_), *_ready], to_tensor(photo(image_id), models_[0].card), engine=engines_
        )


@st.cache_data(max_entries=16, show_spinner=False)
def ranking_places(name: str) -> tuple[int, ...]:
    """Blocks, from 0, before which patches of a model without selectors can be ranked."""
    return possible_places(loaded(ModelSpec(name)).model)


def bare(spec: ModelSpec) -> ModelSpec:
    """The model whose selectors, or rankings, decide as `spec` says, whatever that is."""
    if spec.blocks is None:
        return ModelSpec(spec.name, spec.budget, packaging=spec.packaging)
    return ModelSpec(spec.name, blocks=spec.blocks, keep=(1.0,) * len(spec.blocks))


def keep_spec(name: str, ratio: float, blocks: tuple[int, ...] | None = None) -> ModelSpec:
    """Every selector keeps `ratio` of the patches that reach it: 0.7 leaves 0.7, 0.49, 0.34 of all patches.

    In a model without selectors patches are ranked by class attention before `blocks`, usually three.
    """
    return keep_specs(name, (ratio,), blocks)[0]


def keep_specs(name: str, ratios: Sequence[float], blocks: tuple[int, ...] | None = None) -> list[ModelSpec]:
    """The same for several ratios."""
    found = loaded(ModelSpec(name))
    if found.method == "dense":
        blocks = blocks or usual_places(found.model, USUAL_RANKINGS)
        patches = patches_of(found.model, blocks)
    else:
        blocks, patches = None, found.model.patches
    powers = [keep_powers(ratio, patches) for ratio in ratios]  # anew on each grid, where a family pools
    return [ModelSpec(name, keep=tuple(round(power, 4) for power in some), blocks=blocks) for some in powers]


@st.cache_data(max_entries=256, show_spinner=False)
def architecture(name: str, budget: float) -> Architecture:
    """What a budget in MACs derives from a single-path model's gates."""
    return derive(loaded(ModelSpec(name)).gates, budget)


@st.cache_data(max_entries=8, show_spinner=False)
def reachable(name: str) -> tuple[int, int]:
    """Smallest and dense MACs of a single-path model."""
    return budget_range(loaded(ModelSpec(name)).gates)


def lowest_share(name: str) -> int:
    """The smallest budget that a single-path model takes, in percent of dense: trained for, or else reachable."""
    budgets = loaded(ModelSpec(name)).card.single_path.budgets
    least, dense = reachable(name)
    return round(100 * budgets[0]) if budgets else -(-100 * least // dense)


@st.cache_resource(max_entries=8, show_spinner=False)
def all_budgets(name: str, step: float) -> tuple[Architecture, ...]:
    """What each budget derives, from the lowest to the dense network, `step` percent apart; frozen, so not copied."""
    loaded_ = loaded(ModelSpec(name))
    low = lowest_share(name)
    shares = [low + step * i for i in range(round((100 - low) / step) + 1)]
    return tuple(derive(loaded_.gates, loaded_.dense_macs * share / 100) for share in shares)


@st.cache_resource(max_entries=4, show_spinner=False)
def kernel_readings(name: str) -> tuple[KernelReading, ...]:
    """The convolution inside each block's attention."""
    with inference_lock():
        module, card = checkpoints.read_model(name)
        return tuple(read_block(module, block) for block in range(card.geometry.depth))


@st.cache_resource(max_entries=4, show_spinner=False)
def gate_history(name: str) -> GateHistory | None:
    """How the gates moved in the search, if that was kept beside the weights."""
    path = checkpoints.file_of(name)
    return None if path is None else read_history(history_file(path), loaded(ModelSpec(name)).card.geometry)


@st.cache_resource(max_entries=4, show_spinner=False)
def moments(name: str) -> tuple[Gates, ...]:
    """The gates at each moment of the search; none where no history was kept."""
    history = gate_history(name)
    return () if history is None else tuple(history.at(i) for i in range(len(history.epochs)))


@st.cache_resource(max_entries=32, show_spinner=False)
def over_search(name: str, budget: float) -> tuple[Architecture, ...]:
    """What this budget would have derived at each moment of the search."""
    return tuple(derive(gates, budget) for gates in moments(name))


@st.cache_resource(max_entries=64, show_spinner=False)
def drawn_once(what: str, of: tuple, _draw: Callable[[], Drawing]) -> Drawing:
    """What pages draw alike for everybody, and again at each turn of a control that it does not depend on.

    Args:
        what: Its name.
        of: All that it depends on.
        _draw: Makes it; nobody changes it afterwards.
    """
    return _draw()


@st.cache_data(max_entries=8, show_spinner=False)
def keep_macs(name: str, ratios: tuple[float, ...]) -> list[int]:
    """Multiply-adds of any photo at each of these keep ratios of every selector."""
    found = loaded(ModelSpec(name))
    return [
        schedule_macs(found.card.geometry, found.model.blocks, spec.keep, found.model.layers).total
        for spec in keep_specs(name, ratios)
    ]


@st.cache_resource(max_entries=1, show_spinner=False)
def stamps() -> dict[str, tuple[int, int]]:
    """Of each weights file that was opened by its path: when it was changed, in ns, and its bytes."""
    return {}


@st.cache_resource(max_entries=1, show_spinner=False)
def activity() -> dict[str, float]:
    """`ran_at`: when a page last began or drew a chart for anybody, by `time.monotonic`."""
    return {"ran_at": 0.0}


def forget_model(name: str) -> None:
    """Drop what was made of a model whose file has changed; whatever is keyed otherwise is dropped whole."""
    for cached in (
        load_once,
        _stored,
        architecture,
        reachable,
        all_budgets,
        kernel_readings,
        gate_history,
        moments,
        over_search,
        drawn_once,
        keep_macs,
    ):
        cached.clear()
    measurements().forget(lambda key: key == name)
    engines().forget(lambda key: key[0].name == name)
    for jobs in (scorings(), comparisons()):
        jobs.forget(lambda key: key[0] == name)
