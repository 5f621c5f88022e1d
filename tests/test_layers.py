"""Data flows core -> viz -> pages -> app, and each imports only from its left. Checks: source in, findings out."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("core", "viz", "pages", "app.py")
FORBIDDEN = {
    "core": {"streamlit", "plotly", "viz", "pages", "app"},
    "viz": {"streamlit", "torch", "torchvision", "timm", "captum", "pages", "app"},
    "pages": {"torch", "torchvision", "timm", "captum", "plotly", "app"},
}
FAMILY_CLASSES = {
    *("VisionTransformer", "LVViT", "SwinTransformer", "PoolingVisionTransformer"),
    *("DeitGeometry", "LvvitGeometry", "SwinGeometry", "PitGeometry"),
}
METHOD_NAMES = {"tokens", "singlepath", "joint"}
KIND_NAMES = METHOD_NAMES | {"dense", "compact"}
METHOD_ROOMS = ("core/methods.py", "core/single_path/", "core/soft_tokens/", "core/families/")
"""Where the names of methods may stand; each family says which can prune it."""
OTHER_WORDS = {
    "core/inference/trace_file.py": "tokens",  # a column
    "core/latency/table.py": "tokens",  # a column
    "pages/budget.py": "joint",  # a key of links
    "pages/parts/budget/joint.py": "joint",  # the same
}
"""Words that are spelled as a method is, and mean something else."""
ROOMS = (
    *(
        "version",
        "errors",
        "files",
        "results",
        "costs",
        "config",
        "families",
        "single_path",
        "soft_tokens",
        "methods",
        "models",
    ),
    *("photos", "latency", "training", "baselines", "evaluation", "inference", "benchmarks", "commands"),
)
"""Of core: each imports from those before it; `core/__init__.py` says what is in them."""
NO_ROOMS = ("core/__init__.py", "core/__main__.py", "core/moved.py")
"""Doors: what is run, and old names."""
PAGE_ROOMS = (
    *("server", "parts.shared", "parts.timing", "parts.pickers", "parts.scoring"),
    *("parts.tokens", "parts.architecture", "parts.budget", "parts.compare"),
)
"""Of the pages: each imports from those before it; `pages/server/__init__.py` and `pages/parts/__init__.py` say why."""
SHARED_ROOMS = PAGE_ROOMS[:5]
"""The others belong to one page each, and import from no other page's."""
APP_MAY_IMPORT = {"streamlit", "os", "pathlib"}
APP_LINES = 40


class Import(NamedTuple):
    """One module that a source imports."""

    module: str
    """The name before the first dot."""
    line: int
    deferred: bool
    """Whether it stands inside a function, and so runs only when that is called."""


def imports_of(source: str) -> list[Import]:
    """All modules that `source` imports, also by `importlib.import_module("...")` and `__import__("...")`."""
    return [
        Import(name.partition(".")[0], node.lineno, deferred)
        for node, deferred in _walk(ast.parse(source))
        for name in _imported_names(node)
    ]


def _imported_names(node: ast.AST) -> list[str]:
    """The full names of the modules that one node imports; none for relative imports, which stay in their layer."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case ast.Call(
            func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(module)), *_],
        ):
            return [module]
    return []


def _walk(node: ast.AST, deferred: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below `node`, and whether it is inside a function."""
    for child in ast.iter_child_nodes(node):
        yield child, deferred
        yield from _walk(child, deferred or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def border_findings(path: str, source: str) -> list[str]:
    """Imports that the layer of `path` must not have."""
    forbidden = FORBIDDEN.get(path.split("/")[0], set())
    return [f"{path}:{found.line} imports {found.module}" for found in imports_of(source) if found.module in forbidden]


def room_findings(path: str, source: str) -> list[str]:
    """Imports of a room of core that stands after the file's own, and files that stand in no room."""
    if path in NO_ROOMS:
        return []
    own = path.split("/")[1].removesuffix(".py")
    if own not in ROOMS:
        return [f"{path} stands in no room"]
    found = [
        (node.lineno, name.split(".")[1])
        for node, _ in _walk(ast.parse(source))
        for imported in _imported_names(node)
        for name in _within_core(node, imported)
    ]
    return [
        f"{path}:{line} imports core.{room}"
        for line, room in found
        if room not in ROOMS or ROOMS.index(room) > ROOMS.index(own)
    ]


def _within_core(node: ast.AST, imported: str) -> list[str]:
    """The modules of core that an import of the module `imported` means, by their full names."""
    if imported == "core" and isinstance(node, ast.ImportFrom):  # from core import config
        return [f"core.{alias.name}" for alias in node.names]
    return [imported] if imported.startswith("core.") else []


def page_room_findings(path: str, source: str) -> list[str]:
    """Imports of a room of the pages that stands after the file's own or is another page's, and files in no room."""
    own = ".".join(path.split("/")[1:-1])
    if path.endswith("/__init__.py") or not own:  # the five scripts import whatever they need
        return []
    if own not in PAGE_ROOMS:
        return [f"{path} stands in no room"]
    allowed = {own, *SHARED_ROOMS[: PAGE_ROOMS.index(own)]}
    found = [
        (node.lineno, name.removeprefix("pages.").partition(".")[0 if name.startswith("pages.server") else 2], name)
        for node, _ in _walk(ast.parse(source))
        for name in _imported_names(node)
        if name == "pages" or name.startswith("pages.")
    ]
    return [
        f"{path}:{line} imports {name}"
        for line, room, name in found
        if (room if room == "server" else f"parts.{room.partition('.')[0]}") not in allowed
    ]


def captum_findings(path: str, source: str) -> list[str]:
    """Imports of captum outside functions: it takes seconds, and only attribution needs it."""
    eager = [found for found in imports_of(source) if found.module == "captum" and not found.deferred]
    return [f"{path}:{found.line} imports captum outside a function" for found in eager]


def screen_findings(path: str, source: str) -> list[str]:
    """print() and argparse in core: only `core/__main__.py` and `core/commands/` talk to a person."""
    if path == "core/__main__.py" or path.startswith("core/commands/"):
        return []
    parsed = [f"{path}:{found.line} imports argparse" for found in imports_of(source) if found.module == "argparse"]
    printed = [
        f"{path}:{node.lineno} prints"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    return parsed + printed


def json_findings(path: str, source: str) -> list[str]:
    """Uses of json.dump and json.dumps, which write NaN; `core/files/json_text.py` is the one that writes JSON."""
    if path in ("core/files/json_text.py", "core/inference/reproduce.py"):  # the latter quotes a text for Python
        return []
    return [
        f"{path}:{node.lineno} uses json.{node.attr}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr in ("dump", "dumps") and ast.unparse(node.value) == "json"
    ]


def family_findings(path: str, source: str) -> list[str]:
    """Questions which family a model or geometry is of, outside of the families and what reads other people's files."""
    if path.startswith(("core/families/", "core/models/releases/")):
        return []
    return [
        f"{path}:{node.lineno} asks for {name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance"
        for name in sorted({n.id for n in ast.walk(node.args[1]) if isinstance(n, ast.Name)} & FAMILY_CLASSES)
    ]


def method_findings(path: str, source: str) -> list[str]:
    """Names of methods where only `core.methods` and the methods' folders know them, and comparisons with a kind's."""
    if path.startswith(METHOD_ROOMS):
        return []
    tree = ast.parse(source)
    compared = {id(part) for node in ast.walk(tree) if isinstance(node, ast.Compare) for part in ast.walk(node)}
    return [
        f"{path}:{node.lineno} names {node.value}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value != OTHER_WORDS.get(path)
        if node.value in (KIND_NAMES if id(node) in compared else METHOD_NAMES)
    ]


def cache_findings(path: str, source: str) -> list[str]:
    """Uses of Streamlit's caches outside `pages/server`."""
    if path.startswith("pages/server/"):
        return []
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="st" | "streamlit"), attr=name) if name.startswith("cache"):
                found.append(f"{path}:{node.lineno} uses st.{name}")
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] == "streamlit":
                cached = [alias.name for alias in names if alias.name.startswith("cache")]
                found += [f"{path}:{node.lineno} uses st.{name}" for name in cached]
    return found


def app_findings(path: str, source: str) -> list[str]:
    """What app.py does beyond setting up the pages."""
    lines = len(source.splitlines())
    too_long = [f"{path} has {lines} lines"] if lines > APP_LINES else []
    beyond = [found for found in imports_of(source) if found.module not in APP_MAY_IMPORT]
    return too_long + [f"{path}:{found.line} imports {found.module}" for found in beyond]


CHECKS = {
    border_findings: ("core", "viz", "pages"),
    room_findings: ("core",),
    page_room_findings: ("pages",),
    captum_findings: ("core",),
    screen_findings: ("core",),
    json_findings: LAYERS,
    family_findings: ("core", "viz", "pages"),
    method_findings: ("core", "viz", "pages"),
    cache_findings: LAYERS,
    app_findings: ("app.py",),
}


def files_of(layer: str) -> list[Path]:
    """The Python files of a layer."""
    place = ROOT / layer
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


@pytest.mark.parametrize("layer", LAYERS)
def test_layer_is_there_to_be_checked(layer: str) -> None:
    assert files_of(layer)


@pytest.mark.parametrize(("check", "layer"), [(check, layer) for check, layers in CHECKS.items() for layer in layers])
def test_layer_keeps_the_rule(check, layer: str) -> None:
    findings = [
        finding
        for file in files_of(layer)
        for finding in check(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8"))
    ]
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize(
    ("check", "path", "source"),
    [
        (border_findings, "core/inference/trace.py", "import streamlit as st"),
        (border_findings, "core/inference/trace.py", "import plotly.graph_objects as go"),
        (border_findings, "core/inference/trace.py", "from viz.theme import BLUE"),
        (border_findings, "core/training/loop.py", "def f():\n    from pages.server import models"),
        (border_findings, "viz/tokens.py", "import torch.nn.functional as F"),
        (border_findings, "viz/tokens.py", "import importlib\nimportlib.import_module('timm.models')"),
        (border_findings, "viz/tokens.py", "if True:\n    from streamlit import image"),
        (border_findings, "viz/tokens.py", "from pages.server.models import loaded"),
        (border_findings, "pages/tokens.py", "import numpy, torch"),
        (border_findings, "pages/server/models.py", "from torch import nn"),
        (border_findings, "pages/budget.py", "import plotly.graph_objects as go\ngo.Figure()"),
        (room_findings, "core/costs/macs.py", "from core.families.base import Family"),
        (room_findings, "core/models/export.py", "def f():\n    from core.inference import trace"),
        (room_findings, "core/soft_tokens/stages.py", "from core import latency"),
        (room_findings, "core/soft_tokens/stages.py", "from core.macs import count_macs"),
        (room_findings, "core/macs.py", "x = 1"),
        (page_room_findings, "pages/server/locks.py", "from pages.parts.shared import links"),
        (page_room_findings, "pages/parts/shared/badge.py", "from pages.parts.pickers.files import why_missing"),
        (page_room_findings, "pages/parts/budget/joint.py", "def f():\n    from pages.parts.tokens import tabs"),
        (page_room_findings, "pages/parts/budget/joint.py", "from pages import tokens"),
        (page_room_findings, "pages/parts/alone.py", "x = 1"),
        (captum_findings, "core/inference/attribution.py", "from captum.attr import Saliency\ndef f(): pass"),
        (captum_findings, "core/inference/attribution.py", "class A:\n    import captum"),
        (screen_findings, "core/costs/macs.py", "def f():\n    print('done')"),
        (screen_findings, "core/training/loop.py", "import argparse"),
        (json_findings, "core/evaluation/recorded.py", "import json\nprint(json.dumps({}))"),
        (family_findings, "core/inference/attribution.py", "if isinstance(model, SwinTransformer):\n    pass"),
        (family_findings, "core/soft_tokens/fixed.py", "x = isinstance(m, FixedKeepViT | VisionTransformer)"),
        (family_findings, "pages/parts/shared/mac_counts.py", "def f(g):\n    return isinstance(g, PitGeometry)"),
        (method_findings, "core/commands/peers.py", "if loaded.method == 'dense':\n    pass"),
        (method_findings, "core/latency/table.py", "KINDS = ('tokens', 'joint')"),
        (method_findings, "pages/parts/budget/joint.py", "x = {'singlepath': 1}"),
        (cache_findings, "pages/tokens.py", "import streamlit as st\n@st.cache_data(max_entries=1)\ndef f(): pass"),
        (cache_findings, "pages/tokens.py", "import streamlit as st\n@st.cache_resource\ndef f(): pass"),
        (cache_findings, "app.py", "from streamlit import cache_data"),
        (app_findings, "app.py", "import streamlit as st\nimport core.config"),
        (app_findings, "app.py", "x = 1\n" * (APP_LINES + 1)),
    ],
)
def test_check_finds_the_violation(check, path: str, source: str) -> None:
    assert len(check(path, source)) == 1


@pytest.mark.parametrize(
    ("check", "path", "source"),
    [
        (
            border_findings,
            "core/inference/trace.py",
            "import torch\nfrom . import config\nfrom core.results import TokenTrace",
        ),
        (border_findings, "core/inference/trace.py", "import vizier  # a name that only starts like a layer's"),
        (border_findings, "viz/tokens.py", "import plotly.graph_objects as go\nfrom core.results import TokenTrace"),
        (border_findings, "pages/tokens.py", "import streamlit as st\nfrom viz.tokens import fade_pruned"),
        (room_findings, "core/models/export.py", "import torch\nfrom core import files\nfrom core.models import load"),
        (room_findings, "core/commands/table.py", "from core.evaluation.report import points"),
        (room_findings, "core/__main__.py", "from core.commands import table"),
        (page_room_findings, "pages/parts/budget/joint.py", "from pages.parts.budget.savings import Method"),
        (page_room_findings, "pages/parts/compare/carry.py", "from pages.parts.shared import links"),
        (page_room_findings, "pages/parts/pickers/files.py", "from pages.server import locks, models"),
        (page_room_findings, "pages/tokens.py", "from pages.parts.tokens import tabs"),
        (captum_findings, "core/inference/attribution.py", "def f():\n    from captum.attr import Saliency"),
        (screen_findings, "core/commands/train.py", "import argparse\nprint('done')"),
        (screen_findings, "core/__main__.py", "import argparse\nprint('done')"),
        (screen_findings, "core/costs/macs.py", "def f(printer):\n    printer.print('done')  # 'print(' in a comment"),
        (json_findings, "core/evaluation/recorded.py", "import json\njson.loads('{}')"),
        (family_findings, "core/families/swin.py", "if isinstance(model, SwinTransformer):\n    pass"),
        (family_findings, "core/inference/trace.py", "if isinstance(loaded.model, SoftTokenViT):\n    pass"),
        (method_findings, "core/methods.py", "JOINT = 'joint'"),
        (method_findings, "core/training/scored.py", "told = {'dense': loaded.kind.pruned, 'compact': 'Joint'}"),
        (cache_findings, "pages/server/models.py", "import streamlit as st\n@st.cache_data\ndef f(): pass"),
        (cache_findings, "pages/tokens.py", "import streamlit as st\nst.title('st.cache_data')"),
        (app_findings, "app.py", "import os\nimport streamlit as st\n" + "x = 1\n" * (APP_LINES - 2)),
    ],
)
def test_check_leaves_clean_code_alone(check, path: str, source: str) -> None:
    assert check(path, source) == []
