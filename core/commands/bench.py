"""`bench`: what things cost on this machine, measured in turns within one run."""

import argparse
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from itertools import product
from multiprocessing import active_children, get_context

import torch

from core.benchmarks.cases import SCHEDULES, USUAL, Case, cases, matching, measure
from core.benchmarks.ragged import CASES, compare_ragged
from core.benchmarks.record import add_rows, check_record, conditions, read_record
from core.commands.bench_peer import run_peer
from core.commands.endings import deaf_children, printed_anyway
from core.commands.loading import settings_given, with_settings
from core.commands.parsers import BENCH_BATCHES
from core.commands.requests import BenchRequest, read
from core.commands.shared import Progress, numbers, parse_budget, pick_device, say
from core.config import ModelSpec
from core.errors import InputError
from core.files import check_target
from core.latency.engines import check_engine
from core.latency.measure import device_name
from core.latency.measure_table import measure_beside
from core.latency.random_models import random_pair
from core.latency.schedule import schedule_ms
from core.latency.table import check_one_grid, table_text, write_table
from core.methods import SINGLE_PATH, SOFT_TOKENS, check_takes
from core.models.load import load
from core.results.timings import EAGER, ENGINES, SpeedRow
from core.single_path.published import published
from core.soft_tokens.decide import top_share
from core.training.cost import SLIDER_MS, compare_steps, derive_ms
from core.training.loop import make_accelerator


def run_bench(flags: argparse.Namespace) -> tuple[dict, str]:
    """Measure what the flags ask for.

    JSON: {"device", "threads", "rows": [{"model", "engine", "batch", "dense_ms", "pruned_ms", "speedup", "mac_ratio",
    "efficiency", "dense_iqr_ms", "pruned_iqr_ms", "selector_share", "kept"}]}.
    """
    args = read(BenchRequest, flags)
    batches = numbers(args.batch or (BENCH_BATCHES[0] if args.table is not None else BENCH_BATCHES), int, "--batch")
    if min(batches) < 1 or args.repeats < 4:
        raise InputError("--batch takes numbers of 1 or more, --repeats 4 or more.")
    named = [given is not None for given in (args.table, args.record, args.peer)]
    if sum((args.training, args.ragged, *named)) > 1:
        raise InputError("--training, --ragged, --table, --record and --peer each measure alone; ask for one.")
    if args.peer_settings is not None and args.peer is None:
        raise InputError("--peer-settings are those of --peer; omit them, or give both.")
    if args.engine != EAGER and (args.training or args.ragged or args.table is not None or args.peer is not None):
        raise InputError("--training, --ragged, --table and --peer measure torch's eager mode; omit --engine.")
    if args.peer is not None:
        if settings_given(args):
            raise InputError(f"--peer says what ours cost; omit {' and '.join(settings_given(args))}.")
        return run_peer(args, batches)
    if args.ragged:
        return run_ragged(args)
    if args.training:
        return run_training(args, batches)
    if args.table is not None:
        if len(batches) != 1:
            raise InputError("A table is of one number of photos per pass; give --batch one.")
        return run_table(args, batches[0])
    engines, device = engines_of(args.engine, pick_device(args.device)), pick_device(args.device)
    if args.record is not None:
        return run_record(args, batches, engines, device)
    here = {"device": device_name(device), "threads": torch.get_num_threads()}
    rows, line = [], Progress()
    work = list(product([_case_of(args, name) for name in args.model or USUAL], batches, engines))
    measured = measure if len(work) == 1 else _measured_afresh
    for case, batch, engine in work:
        line.show(f"{case}, batch {batch}, {ENGINES[engine]} …")
        rows.append(measured(case, batch, engine, device, args.repeats))
        line.clear()
    head = f"{here['device']}, {here['threads']} threads, float32, {args.repeats} rounds"
    return {**here, "rows": [asdict(row) for row in rows]}, "\n".join([head, *(_text(row) for row in rows)])


def run_record(
    args: BenchRequest, batches: tuple[int, ...], engines: tuple[str, ...], device: torch.device
) -> tuple[dict, str]:
    """All of `core.benchmarks.cases.cases`, or --model, into the record; each row is kept as soon as it is there.

    JSON: the record, see `core.benchmarks.record`.
    """
    assert args.record is not None  # as it is asked for
    if settings_given(args):
        said = " and ".join(settings_given(args))
        raise InputError(f"--record measures its models at settings of their own; omit {said}.")
    check_record(args.record)
    line, work = Progress(), list(product(matching(args.model), batches, engines))
    order = [str(case) for case in cases()]
    say(f"{len(work)} rows of {args.repeats} rounds; about a minute each, and as much again to compile.")
    here, refused = conditions(device_name(device)), []
    for done, (case, batch, engine) in enumerate(work):
        line.show(f"{done} of {len(work)}: {case}, batch {batch}, {ENGINES[engine]} …")
        try:
            row = _measured_afresh(case, batch, engine, device, args.repeats)
        except InputError as error:  # one engine less is no reason to lose the others
            refused.append(f"Left out: {case}, batch {batch}, {ENGINES[engine]}: {error}")
            continue
        finally:
            line.clear()
        with printed_anyway({**here, "rows": [asdict(row)]}, _text(row)):
            add_rows(args.record, here, [row], order)
        say(_text(row).strip())
    if len(refused) == len(work):
        raise InputError(refused[0])
    record = read_record(args.record)
    return record, "\n".join([*refused, f"{len(record['rows'])} rows are in {args.record}, and as a table beside it."])


def _measured_afresh(case: Case, batch: int, engine: str, device: torch.device, repeats: int) -> SpeedRow:
    """`measure` in a process of its own: what ran before leaves the memory in a state that the next row would feel.

    Raises:
        InputError: As `measure` does, or if the process is ended from outside.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            with deaf_children():
                answer = pool.submit(_seeded, torch.initial_seed(), case, batch, engine, device, repeats)
            return answer.result()
        except KeyboardInterrupt:
            for child in active_children():  # it does not know of it, and would be waited for
                child.kill()
            raise
        except BrokenProcessPool as error:
            raise InputError("A measurement was ended; maybe memory ran out: try a smaller --batch.") from error


def _seeded(seed: int, case: Case, batch: int, engine: str, device: torch.device, repeats: int) -> SpeedRow:
    torch.manual_seed(seed)
    return measure(case, batch, engine, device, repeats)


def engines_of(text: str, device: torch.device) -> tuple[str, ...]:
    """Engines from "onnxruntime", "eager,compile" or "all".

    Raises:
        InputError: If one is none, or does not run on this device.
    """
    return tuple(check_engine(name, device) for name in (ENGINES if text == "all" else text.split(",")))


def _case_of(args: BenchRequest, name: str) -> Case:
    """The model of the flags with its settings.

    Raises:
        InputError: If it has settings of its own.
    """
    if (name in SCHEDULES or name in published()) and settings_given(args):
        raise InputError(f"{name} has settings of its own; omit {' and '.join(settings_given(args))}.")
    spec = with_settings(ModelSpec(name), args)
    case = Case(name, spec.keep, blocks=spec.blocks, mass=spec.mass)
    if args.budget is None:
        return case
    return replace(case, budget=parse_budget(args.budget, load(ModelSpec(name), weights=False).dense_macs))


def _text(row: SpeedRow) -> str:
    said = (
        f"  {row.model}, {row.engine}, batch {row.batch}: dense {row.dense_ms:.1f} ms (IQR {row.dense_iqr_ms:.1f}), "
        f"pruned {row.pruned_ms:.1f} ms (IQR {row.pruned_iqr_ms:.1f}); speed-up {row.speedup:.2f} of "
        f"{row.mac_ratio:.2f} by MACs, efficiency {row.efficiency:.2f}"
    )
    if row.speedup < 1:
        said += "; slower than dense here"
    if row.selector_share is not None:
        said += f"; selectors {100 * row.selector_share:.1f} % of the time; kept " + ", ".join(
            f"{low}" if low == high else f"{low} to {high}" for low, high in row.kept or ()
        )
    return said


def run_table(args: BenchRequest, batch: int) -> tuple[dict, str]:
    """A latency table of this machine, and how well it predicts a measured model.

    JSON: {"table", "model", "device", "threads", "batch", "predicted_ms", "measured_ms"}, of the schedule below.
    """
    names = list(args.model or ("bundled-dense",))
    if len(names) > 1:
        raise InputError("--table measures one --model.")
    if settings_given(args):
        raise InputError(f"--table measures whole blocks; omit {' and '.join(settings_given(args))}.")
    assert args.table is not None  # as it is asked for
    check_target(args.table, "--table")
    device, line = pick_device(args.device), Progress()
    card = load(ModelSpec(names[0]), weights=False).card
    check_takes(SOFT_TOKENS, card.family)
    geometry = card.geometry
    check_one_grid(geometry)
    check = check_schedule(geometry.depth)
    model = random_pair(geometry, check[0], device)
    images = torch.randn(batch, 3, geometry.img_size, geometry.img_size, device=device)
    decide = top_share(check[1], geometry.patches)
    table, (measured,) = measure_beside(
        model,
        geometry,
        (lambda: model.run(images, decide, record=False),),
        batch=batch,
        repeats=args.repeats,
        on_round=lambda done, of: line.show(f"{done} of {of} rounds"),
    )
    line.clear()
    predicted = schedule_ms(table, geometry, check)
    kept = " and ".join(f"{share:.0%}".replace("%", " %") for share in check[1])
    text = (
        f"{args.table}: {len(table.tokens)} token counts on {table.device}, {table.threads} threads, batch {batch}. "
        f"A model that keeps {kept} of its patches is predicted to take {predicted:.2f} ms and takes "
        f"{measured:.2f} ms ({100 * (predicted / measured - 1):+.0f} %)."
    )
    told = {"device": table.device, "threads": table.threads, "batch": batch}
    result = {
        "table": str(args.table),
        "model": names[0],
        **told,
        "predicted_ms": predicted,
        "measured_ms": measured,
    }
    with printed_anyway(result | {"csv": table_text(table)}, f"{text}\n{table_text(table)}"):
        write_table(table, args.table)
    return result, text


def run_ragged(args: BenchRequest) -> tuple[dict, str]:
    """Each way's speed as a share of that of equal token counts.

    JSON: {"rows": [{"block", "photos", "mean_tokens", "spread", "equal_ms", "share", "repeats", "device", "threads"}]}.
    """
    if args.model or args.batch or settings_given(args):
        raise InputError(
            "--ragged measures blocks of its own; omit --model, --batch, and the flags of a model's setting."
        )
    device, line, rows = pick_device(args.device), Progress(), []
    for case in CASES:
        line.show(f"{case[0]}, {case[3]} photos …")
        rows.append(compare_ragged(*case, repeats=args.repeats, device=device))
    line.clear()
    names = list(rows[0].share)
    head = f"| block, photos, mean tokens | spread | {' | '.join(names)} |\n|{' --- |' * (2 + len(names))}"
    lines = [
        f"| {row.block}, {row.photos}, {row.mean_tokens} | {row.spread:.0%} | "
        f"{' | '.join(f'{row.share[name]:.2f}' for name in names)} |"
        for row in rows
    ]
    about = f"{rows[0].device}, {rows[0].threads} threads, {args.repeats} rounds: speed as a share of equal counts'."
    return {"rows": [asdict(row) for row in rows]}, "\n".join([about, head, *lines])


def check_schedule(depth: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Where selectors stand in the model that a table is held against, and what they keep: two, of few blocks one.

    Raises:
        InputError: If there is no block that a selector can stand before.
    """
    blocks = tuple(sorted({max(1, depth // 4), depth // 2} - {0}))
    if depth < 2:
        raise InputError("A model of one block has no place for a selector, so a table of it would say nothing.")
    return blocks, (0.6, 0.3)[: len(blocks)]


def run_training(args: BenchRequest, batches: tuple[int, ...]) -> tuple[dict, str]:
    """A search step in dense steps, and the time that deriving an architecture takes."""
    accelerator = make_accelerator(pick_device(args.device), args.precision)
    rows, lines = [], []
    for name in args.model or ("bundled-dense",):
        card = load(ModelSpec(name), weights=False).card
        check_takes(SINGLE_PATH, card.family)
        geometry = card.geometry
        deriving = derive_ms(geometry)
        late = f", more than the {SLIDER_MS:.0f} ms that a slider may take" if deriving > SLIDER_MS else ""
        for batch in batches:
            found = compare_steps(geometry, accelerator, batch=batch)
            rows.append({"model": name, **asdict(found), "derive_ms": deriving})
            lines.append(
                f"{name}, batch {batch}, {found.device}, {found.threads} threads, precision {found.precision}: a dense "
                f"training step takes {found.dense_ms:.0f} ms (IQR {found.dense_iqr_ms:.0f}); a search step "
                f"{found.search_ratio:.2f} of that, {found.distilled_search_ratio:.2f} with a dense teacher; deriving "
                f"an architecture takes {deriving:.1f} ms{late}"
            )
    told = {"device": device_name(accelerator.device), "threads": torch.get_num_threads(), "rows": rows}
    return told, "\n".join(lines)
