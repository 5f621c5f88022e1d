"""Prunescope's core: two ways to prune a Vision Transformer, and what is needed to run, count and train them.

Axes, one letter each, used in every docstring and shape comment:

    B images   N patches   T tokens (prefix + patches + packages)   D width   H heads   F FFN hidden units
    L blocks   S stages (selectors)   C classes

Data flows core -> viz -> pages -> app, and each imports only from its left. Core knows of no screen: frozen settings go
in (`core.config`), frozen results come out (`core.results`). `core.models.load.load_model` is where to start: a name or
a path in, a model ready to run out.

The rooms; each imports from those above it:

    version         which Prunescope this is
    errors, files   sentences for people; reading and writing files, strict JSON
    results         what comes out, frozen and without tensors
    costs           multiply-adds and parameters in closed form, one formula for all families; without torch
    families        base: what is asked of a family; block: the one pre-norm block and its attention; a module each
    single_path     gates, mixers, search form, scores, budget -> Architecture (arXiv:2111.11802)
    soft_tokens     selectors, packages, really removing tokens (arXiv:2112.13890)
    methods         what is asked of a method, the two that there are, and what a model can carry of them
    models          weights files: loading, cards, registry, downloads, export; releases: other people's files
    photos          image: the one reader of a photo; walk: the one walk over folders; class folders, loaders, zips
    latency         measured here: whole models, tables, parts; what they predict; engines
    training        the loop and the recipes, and gates scored without training
    baselines       ToMe, EViT and random dropping on the dense model, at the same cost
    evaluation      many photos: how often it is right at what cost, reports, sweeps, records
    inference       one photo: trace, removal, attribution, rivals, agreement, commands that reproduce a view
    benchmarks      speed of pairs, measured in turns and recorded
    commands        `python -m core`: table names them, parsers has their flags, a module each does the work

Names from before there were rooms (`core.images`) still import; `core.moved` has the list.

To add a family: a module in `families`, its geometry in `costs`, its line in `families.families`; for files of others a
reader in `models.releases`, and its line in `models.releases.files`. A method: its folder with a `method` module, its
line and the kinds of its models in `methods`, its field of `models.cards.ModelCard`. A baseline: a module in
`baselines`, and its line in `baselines.run`. A command: a line in `commands.table`, its flags in `commands.parsers`,
its module. A setting: a field of `config.ModelSpec`, its line in `config.SETTINGS`, its flag in `commands.flags`.
A page: a script in `pages/`, its folder in `pages/parts`, and its line in `app.py`.
"""

from core.moved import answer_to_old_names as _answer_to_old_names
from core.version import __version__ as __version__

_answer_to_old_names()
