"""`models`, `predict`, `describe` and `evaluate`: what can be loaded, what it says, what it is, how good it is."""

import argparse
from dataclasses import asdict, astuple

from core.commands.describe_published import describe_published
from core.commands.endings import printed_anyway
from core.commands.engine import dense_beside, in_engine
from core.commands.loading import load_model_of, setting_of, spec_of, tell_snapped
from core.commands.peers import evaluate_peer, peer_into_file
from core.commands.requests import ModelRequest, PhotosRequest, read
from core.commands.shared import data_told, pick_device, say
from core.commands.sweeping import check_sweep, evaluate_folder, predict_many
from core.config import PEERS
from core.errors import InputError
from core.evaluation.recorded import add_row, check_recorded
from core.families.families import family
from core.inference.trace import predict, trace_tokens
from core.latency.measure import measure_latency
from core.methods import methods_sentence
from core.models import taken
from core.models.description import description, told_grids
from core.models.load import load
from core.models.macs import macs_of
from core.models.registry import list_models
from core.photos.crop import read_crop
from core.photos.image import first_of_several, load_photo, to_tensor
from core.results import Recorded
from core.results.timings import Latency, Rounding
from core.single_path.published import published
from core.soft_tokens.model import SoftTokenViT
from core.training.loop import make_accelerator


def run_models(args: argparse.Namespace) -> tuple[dict, str]:
    """What can be loaded: by name, or by kind, or of all that timm has."""
    if args.taken:
        return {"taken": [dict(zip(taken.HEADINGS, row, strict=True)) for row in taken.rows()]}, taken.plain()
    if args.timm:
        found = taken.timm_names()
        told = [f"{one.name:44} {one.why_not or f'{one.family}, classifier {one.head}'}" for one in found]
        return {"timm": [asdict(one) for one in found]}, "\n".join((*told, taken.counted(found)))
    fields = ("name", "source", "family", "available", "note")
    entries = list_models()
    rows = [{field: getattr(entry, field) for field in fields} for entry in entries]
    lines = [f"{e.name:44} {e.source:8} {'here' if e.available else 'not here':9} {e.note}" for e in entries]
    return {"models": rows}, "\n".join(lines)


def run_predict(flags: argparse.Namespace) -> tuple[dict, str]:
    """Top-5 of each photo."""
    args = read(PhotosRequest, flags)
    check_sweep(args)
    many = args.out is not None or any(path.is_dir() for path in args.photos)
    if args.crop is not None and (many or len(args.photos) > 1):
        raise InputError("--crop is a square of one photo; give that photo alone, without --out.")
    if many:
        return predict_many(args)
    crop = None if args.crop is None else read_crop(args.crop)
    loaded = load_model_of(args)
    other, images, lines = in_engine(args, loaded), [], []
    run, dense = other.run if other else loaded.model, dense_beside(args, loaded)
    for path in args.photos:
        photo = load_photo(path, crop)
        if first_of_several(photo):
            say(f"{path} holds several pictures; the first one is read.")
        kept = None
        moved = None
        if other is not None:
            prediction, macs, kept = other.answer(photo)
            moved = other.moved(photo)
        elif isinstance(loaded.model, SoftTokenViT):
            trace = trace_tokens(loaded, photo)
            prediction, macs, kept = trace.prediction, trace.macs.total, list(trace.kept_counts)
        else:
            prediction, macs = predict(loaded, photo), macs_of(loaded).total
        latency, *beside = measure_latency(
            [run] if dense is None else [run, dense],
            to_tensor(photo, loaded.card).to(pick_device(args.device)),
            repeats=10,
            engine=args.engine,
        )
        images.append(
            {
                "file": str(path),
                **({} if crop is None else {"crop": astuple(crop)}),
                "top5": [{"label": g.label, "wnid": g.wnid, "prob": g.prob} for g in prediction.top()],
                "macs": macs,
                "dense_macs": loaded.dense_macs,
                "patches": loaded.card.geometry.patches,
                "kept": kept,
                **({} if moved is None else {"float_top1": moved.first, "largest_change": moved.largest}),
                **told_grids(loaded),
                "latency_ms": _told(latency),
                "dense_latency_ms": _told(beside[0]) if beside else None,
            }
        )
        guesses = ", ".join(f"{g.label} {100 * g.prob:.1f} %" for g in prediction.top())
        of = getattr(loaded.model, "patches", (loaded.card.geometry.patches,))
        of = ", ".join(map(str, of)) if len(set(of)) > 1 else of[0]
        alive = "" if kept is None else f"; patches kept {', '.join(map(str, kept))} of {of}"
        through = "" if crop is None else f", crop {crop}"
        lines.append(
            f"{path}{through}: {guesses}\n  {macs / 1e9:.4g} GMACs of {loaded.dense_macs / 1e9:.4g} dense{alive}; "
            f"{latency.median_ms:.1f} ms (IQR {latency.iqr_ms:.1f}){_beside(beside)} on {latency.device}, "
            f"{latency.threads} threads, batch {latency.batch}, {latency.engine}"
            f"{'' if moved is None else _moved_text(moved)}"
        )
    return {"model": args.model, "images": images}, "\n".join(lines)


def _moved_text(moved: Rounding) -> str:
    """How far fewer bits moved an answer, for a person."""
    said = "the same answer" if moved.same else moved.first
    return f"; in float32 {said}, probabilities differ by up to {100 * moved.largest:.1f} points"


def _told(latency: Latency) -> dict:
    """As the JSON has it."""
    return {
        "median": latency.median_ms,
        "iqr": latency.iqr_ms,
        "device": latency.device,
        "threads": latency.threads,
        "batch": latency.batch,
        "engine": latency.engine,
    }


def _beside(dense: list[Latency]) -> str:
    """The dense model of the same shape, timed in turns with a pruned one."""
    return f", dense {dense[0].median_ms:.1f} ms (IQR {dense[0].iqr_ms:.1f})," if dense else ""


def run_describe(flags: argparse.Namespace) -> tuple[dict, str]:
    """What a model is made of; needs no weights."""
    args = read(ModelRequest, flags)
    if args.model in published():
        return describe_published(args)
    loaded = load(spec_of(args), weights=False)
    tell_snapped(loaded)
    geometry = loaded.card.geometry
    result = description(loaded)
    rows = [
        f"  block {i}: {m:8} FFN {f:5} of {full}"
        for i, (m, f, full) in enumerate(zip(result["mixers"], result["ffn_hidden"], geometry.ffn_widths, strict=True))
    ]
    rows += [
        f"  selector before block {s['block']}: keeps {s['keep']:.3g} of the patches"
        + (f" of its {s['grid'][0]} x {s['grid'][1]} grid" if "grid" in s else "")
        for s in result["selectors"] or []
    ]
    cost = "MACs depend on the photo" if result["macs"] is None else f"{result['macs'] / 1e9:.4g} GMACs"
    grid = f"{geometry.grid[0]} x {geometry.grid[1]} patches"
    head = f"{args.model}: {loaded.card.family}, {grid}, {geometry.classes} classes"
    params = f"{result['params']:,} parameters"
    dense = f"dense {loaded.dense_macs / 1e9:.4g}"
    if (aside := family(loaded.card.family).cost_aside(geometry)) is not None:
        dense += f" ({aside})"
    methods = [f"  {methods_sentence(loaded.card.family)}"] if not loaded.kind.pruned else []
    return result, "\n".join([head, f"  {cost}, {dense}; {params}", *methods, *rows])


def run_evaluate(flags: argparse.Namespace) -> tuple[dict, str]:
    """Accuracy on a folder of photos."""
    args = read(PhotosRequest, flags)
    check_sweep(args)
    check_recorded(args.record)
    if args.method not in PEERS:
        if args.dense is not None:
            raise InputError(f"--dense goes with --method {', '.join(PEERS)}.")
        return evaluate_folder(args)
    accelerator = make_accelerator(pick_device(args.device))
    if args.out is not None:
        return peer_into_file(args, accelerator)
    found, more, about = evaluate_peer(args, accelerator)
    result = {"model": args.model, "data": data_told(args.data), **asdict(found)}
    result = {key: value for key, value in result.items() if key not in ("correct", "mean_kept")} | more
    text = (
        f"{args.method} with the weights of {more['dense']} on {found.images} photos: "
        f"top-1 {100 * found.top1:.2f} %, top-5 {100 * found.top5:.2f} %, "
        f"{found.mean_macs / 1e9:.4g} GMACs ({100 * found.mean_macs / found.dense_macs:.1f} % of dense), "
        f"{found.images_per_s:.0f} images/s"
    )
    text = f"{text}\n{about}"
    if args.record is not None and accelerator.is_main_process:
        cost = (found.mean_macs, found.dense_macs, found.images)
        with printed_anyway(result, text):
            add_row(args.record, Recorded(args.model, setting_of(args), found.top1, found.top5, *cost))
    return result, text
