"""`describe` for a published architecture: by name, without a model or weights."""

from core.commands.requests import ModelRequest
from core.costs.params import ParamCount
from core.errors import InputError
from core.models.description import published_description
from core.results import Architecture
from core.single_path.published import Published, architecture_of, params_of, published


def describe_published(args: ModelRequest) -> tuple[dict, str]:
    """What a published architecture is made of, counted in closed form, and the published figures beside it.

    Raises:
        InputError: If a flag asks for another architecture than the published one.
    """
    for flag in ("budget", "keep", "threshold"):
        if getattr(args, flag) is not None:
            raise InputError(f"{args.model} is a published architecture and stays as it is; omit --{flag}.")
    found = published()[args.model]
    architecture, params = architecture_of(found), params_of(found)
    return published_description(found), _text(found, architecture, params)


def _text(found: Published, architecture: Architecture, params: ParamCount) -> str:
    grid = f"{found.geometry.grid[0]} x {found.geometry.grid[1]} patches"
    figures = [] if found.gmacs is None else [f"{found.gmacs} GMACs", f"{found.params_m} M parameters stored"]
    figures.append(f"top-1 {100 * found.top1:.1f} %")
    if found.top1_distilled is not None:
        figures.append(f"{100 * found.top1_distilled:.1f} % distilled")
    blocks = zip(found.mixers, found.ffn_hidden, architecture.ffn_full, strict=True)
    lines = [
        f"{found.name}: {found.family}, {grid}, {found.geometry.classes} classes; counted in closed form, no weights",
        f"  {architecture.macs / 1e9:.4g} GMACs, dense {architecture.dense_macs / 1e9:.4g}; "
        f"the search was asked for {found.asked_macs / 1e9:.1f}",
        f"  {params.compact:,} parameters; {params.stored:,} stored for training",
        f"  as published (arXiv:2111.11802): {', '.join(figures)}",
        *(f"  block {i}: {m:8} FFN {f:5} of {full}" for i, (m, f, full) in enumerate(blocks)),
    ]
    return "\n".join(lines)
