"""References that lead nowhere: names in docstrings and in pages of documentation, and links between files.

Sources in, findings out, as `tests/test_layers.py` has it; nothing is imported, so it takes a second.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from core.moved import MOVED

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("core", "viz", "pages")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "assets", "tests")
"""Files of Markdown, and folders of them; not `space`, whose page stands in another repository."""
NOT_OURS = {"nohup", "timeit"}
"""Other people's, in docstrings."""
PLACEHOLDER = "NAME"
DOTTED = re.compile(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)(?:\(\))?`")
PLAIN = re.compile(r"`([A-Za-z_]\w*)(?:\(\))?`")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def findings(root: Path = ROOT) -> list[str]:
    """Each broken reference below a folder, as "file:line name"."""
    sources = {
        path: path.read_text(encoding="utf-8") for one in PACKAGES for path in sorted((root / one).rglob("*.py"))
    }
    written = {path: path.read_text(encoding="utf-8") for one in PAGES for path in _markdown(root / one)}
    known = {word for text in sources.values() for word in _words(ast.parse(text))}
    found = []
    for path, text in sources.items():
        for line, said in _docstrings(ast.parse(text)):
            found += [f"{path.relative_to(root)}:{line} {name}" for name in broken_names(said, root, known)]
    for path, text in written.items():
        found += [f"{path.relative_to(root)} {name}" for name in broken_names(FENCED.sub("", text), root)]
        found += [f"{path.relative_to(root)} {link}" for link in broken_links(text, path.parent)]
    return found


def broken_names(text: str, root: Path, known: set[str] | None = None) -> list[str]:
    """Names in backticks that are nowhere: dotted ones of this package, and plain ones that no source of it has.

    Args:
        text: A docstring, or Markdown.
        root: Where the packages lie.
        known: All words of the sources; None: plain names are not looked at.
    """
    dotted = [name for name in DOTTED.findall(text) if not is_there(name, root)]
    plain = () if known is None else set(PLAIN.findall(text)) - known - NOT_OURS
    return dotted + sorted(name for name in plain if PLACEHOLDER not in name)


def broken_links(text: str, folder: Path) -> list[str]:
    """Links of Markdown to files that are not there, as seen from a folder."""
    return [link for link in LINK.findall(text) if not (folder / link).exists()]


def is_there(name: str, root: Path) -> bool:
    """Whether a dotted name is a module, one of its old names, something that one makes or imports, or part of that."""
    place, rest = root, name.split(".")
    if rest[0] == "core" and rest[1:2] and rest[1] in MOVED:
        rest = ["core", *MOVED[rest[1]].split("."), *rest[2:]]
    while rest and (place / rest[0]).is_dir():
        place, rest = place / rest[0], rest[1:]
    file = place / f"{rest[0]}.py" if rest else place
    if rest and file.is_file():
        rest = rest[1:]
    else:
        file = place / "__init__.py"
    if not rest:
        return file.exists()
    if not file.is_file():
        return False
    return _holds(top := ast.parse(file.read_text(encoding="utf-8")).body, top, rest)


def _holds(body: list[ast.stmt], top: list[ast.stmt], names: list[str]) -> bool:
    """Whether a body, of a module or of a class in a module `top`, has these names, each within the one before."""
    if not names:
        return True
    owner = next((node for node in body if names[0] in _defined(node)), None)
    if not isinstance(owner, ast.ClassDef) or not names[1:]:
        return owner is not None and not names[1:]
    bases = {base.id for base in owner.bases if isinstance(base, ast.Name)}
    above = (node.name for node in top if isinstance(node, ast.ClassDef) and node.name in bases)
    return _holds(owner.body, top, names[1:]) or any(_holds(top, top, [name, *names[1:]]) for name in above)


def _defined(node: ast.stmt) -> set[str]:
    """Names that one statement of a module or a class makes."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Assign(targets=targets):
            return {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {alias.asname or alias.name for alias in names}
    return set()


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Texts that stand as statements of their own: of modules, classes, functions, and behind what is assigned."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text


def _words(tree: ast.Module) -> Iterator[str]:
    """Every name that the code of a source has: defined, used, given as an argument, or as a text of its own."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.arg(arg=word) | ast.keyword(arg=str(word)):
                yield word
            case ast.FunctionDef(name=word) | ast.ClassDef(name=word):
                yield word
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from (part for alias in names for part in (alias.asname or alias.name).split("."))
                if isinstance(node, ast.ImportFrom):
                    yield from (node.module or "").split(".")
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Constant) and isinstance(child.value, str) and not isinstance(node, ast.Expr):
                yield from re.findall(r"\w+", child.value)


def _markdown(place: Path) -> list[Path]:
    return [place] if place.is_file() else sorted(place.rglob("*.md"))
