"""axe-core in a page of the browser: its serious and critical findings, less those in Streamlit's own widgets."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from playwright.sync_api import Page

RUN = """async (rules) => {
    const found = await axe.run(document, {resultTypes: ["violations"], rules});
    return found.violations.flatMap(v => v.nodes.map(n => ({
        rule: v.id, impact: v.impact, html: n.html.slice(0, 300), target: n.target.join(" "), why: n.failureSummary,
        inside: [...document.querySelectorAll(n.target.at(-1))].slice(0, 1).map(
            e => { const all = []; for (; e; e = e.parentElement) all.push(e); return all; })[0]
            ?.map(e => e.dataset?.testid).filter(Boolean) ?? [],
    })));
}"""


@dataclass(frozen=True)
class Finding:
    """One element that one rule finds fault with."""

    rule: str
    impact: str
    target: str
    """CSS selector of the element."""
    inside: tuple[str, ...]
    """Test ids of Streamlit around it, from the inside out."""
    html: str
    why: str


@cache
def source() -> str:
    """axe-core's script, as the package carries it: no network is needed."""
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def findings(page: Page) -> list[Finding]:
    """Serious and critical findings on the page as it stands."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(source())
    found = [Finding(**{**raw, "inside": tuple(raw["inside"])}) for raw in page.evaluate(RUN, {})]
    return [finding for finding in found if finding.impact in ("serious", "critical")]
