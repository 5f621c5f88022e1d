"""Three things that a person comes for, each done without a wrong turn, as anybody would do it who reads the pages."""

import io
import re
from functools import cache

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from core.config import ModelSpec
from core.inference.trace import answer
from core.latency.limit import largest_within
from core.latency.schedule import schedule_ms
from core.latency.table import table_text
from core.models.load import load
from core.models.weights import read_card
from core.photos.image import open_photo
from core.results.timings import LatencyTable
from core.soft_tokens.schedules import keep_powers
from tests.browse import SLOW, open_view, settle
from tests.small_assets import SMALL_ASSETS

DENSE, TOKENS = (SMALL_ASSETS / f"bundled-{name}.safetensors" for name in ("dense", "tokens"))
KEEPS = tuple(round(0.1 + 0.05 * step, 2) for step in range(19))
PHOTOS, ENOUGH, LIMIT_MS = 20, 18, 15


def test_what_a_package_token_is_can_be_shown(server: str, page: Page) -> None:
    open_view(page, f"{server}/")
    page.get_by_role("link", name="Watch patches leave").click()
    expect(page.get_by_role("heading", name="Which patches does the model keep?")).to_be_visible(timeout=SLOW)
    settle(page)
    expect(page.get_by_text("their mean, a package, goes on in their place as one token")).to_be_visible()

    page.locator(".ticks button").nth(1).click()  # to the first selector
    chip = page.locator("button.chip").first
    chip.focus()
    expect(chip).to_have_class(re.compile("lit"))  # and its patches, on the photo
    folded = re.search(r"(\d+) folded into package 1", page.locator(".player .sentence").inner_text())
    assert folded is not None
    assert f"{folded[1]} tokens" in chip.inner_text()
    assert "+ 1 package = " in page.locator(".player .sum").inner_text()

    page.get_by_role("tab", name="Packages").click()
    expect(page.get_by_text("become one package token: the mean of what they are at that moment")).to_be_visible(
        timeout=SLOW
    )
    expect(page.get_by_text(re.compile(f"^Package 1: {folded[1]} patches; the heaviest"))).to_be_visible(timeout=SLOW)


def test_the_cheapest_setting_within_a_limit_that_keeps_enough_own_photos_is_found(server: str, page: Page) -> None:
    settings = [keep for keep, ms in zip(KEEPS, predicted(), strict=True) if ms <= LIMIT_MS]
    wanted = next(keep for keep in settings if agreeing(keep) >= ENOUGH)

    open_view(page, f"{server}/budget")
    table = page.get_by_role("region", name="Latency table").locator("input[type=file]")
    table.set_input_files({"name": "board.csv", "mimeType": "text/csv", "buffer": table_text(board()).encode()})
    limit = page.get_by_role("spinbutton", name="Limit for one photo, ms")
    expect(page.get_by_text("Latency is predicted for board")).to_be_visible(timeout=SLOW)
    settle(page)
    limit.fill(str(LIMIT_MS))
    limit.press("Enter")
    largest = f"{100 * KEEPS[largest_within(predicted(), LIMIT_MS)]:.0f} %"
    expect(page.get_by_text(f"Tokens: {largest} keeps the limit of {LIMIT_MS} ms")).to_be_visible(timeout=SLOW)
    page.get_by_role("link", name=f"On your own photos: Tokens, keep {largest}").click()

    page.get_by_role("region", name="Photos or zips").locator("input[type=file]").set_input_files(
        [{"name": f"{n}.png", "mimeType": "image/png", "buffer": data} for n, data in enumerate(photos())]
    )
    page.get_by_role("button", name=f"Compare {PHOTOS} photos").click(timeout=SLOW)
    keep = page.get_by_role("slider", name="Keep ratio of each selector, B")
    expect(keep).to_have_attribute("aria-valuetext", largest, timeout=SLOW)
    assert shared(page) == agreeing(settings[-1])

    for _ in range(settings.index(wanted), len(settings) - 1):  # down to the cheapest one that still keeps enough
        keep.press("ArrowLeft")
        settle(page)
    expect(keep).to_have_attribute("aria-valuetext", f"{100 * wanted:.0f} %")
    page.get_by_role("button", name=f"Compare {PHOTOS} photos").click()
    assert shared(page) == agreeing(wanted) >= ENOUGH
    assert wanted == settings[0] or agreeing(settings[settings.index(wanted) - 1]) < ENOUGH


def test_where_tome_and_the_selectors_differ_on_one_photo_is_seen(server: str, page: Page) -> None:
    open_view(page, f"{server}/tokens?pic=Cat")
    page.get_by_role("tab", name="Other methods at the same MACs").click()
    ours, tome = (page.get_by_role("img", name=re.compile(f"^{name}")) for name in ("The selectors", "ToMe"))
    for picture in (ours, tome):
        expect(picture).to_be_visible(timeout=SLOW)
    settle(page)
    assert pixels(ours).shape == pixels(tome).shape
    assert (pixels(ours) != pixels(tome)).mean() > 0.1
    before = tome.get_attribute("src")
    page.get_by_role("slider", name="After block").press("Home")
    expect(tome).not_to_have_attribute("src", before or "", timeout=SLOW)
    expect(page.get_by_text("Overlap: patches that both leave alone")).to_be_visible()


def shared(page: Page) -> int:
    """Photos on which both models say the same, once all are compared."""
    metric = page.get_by_test_id("stMetric").filter(has_text="Same first answer")
    expect(page.get_by_text(f"{PHOTOS} of {PHOTOS} photos", exact=True).first).to_be_visible(timeout=SLOW)
    settle(page)
    found = re.search(rf"(\d+) of {PHOTOS} photos", metric.inner_text())
    assert found is not None
    return int(found[1])


def pixels(picture: Locator) -> np.ndarray:
    """What a picture of a page shows."""
    source = picture.page.request.get(picture.evaluate("image => image.src")).body()
    return np.asarray(Image.open(io.BytesIO(source)).convert("L").resize((64, 64)))


@cache
def board() -> LatencyTable:
    """Blocks take 2 ms at all tokens and in proportion below; dense takes 25 ms."""
    geometry = read_card(TOKENS).geometry
    most = geometry.patches + 1
    counts = tuple(sorted({*range(2, most, 12), most, most + 3}))
    block = tuple(2 * count / most for count in counts)
    shape = geometry.width, geometry.heads, geometry.ffn_hidden
    return LatencyTable("board", 1, 1, *shape, counts, block, (0.0,) * len(counts), 25 - 2 * geometry.depth)


@cache
def predicted() -> tuple[float, ...]:
    """What the board is predicted to take at each keep ratio."""
    model, geometry = load(ModelSpec(str(TOKENS))), read_card(TOKENS).geometry
    blocks, patches = model.model.blocks, model.model.patches
    return tuple(
        schedule_ms(board(), geometry, (blocks, tuple(round(k, 4) for k in keep_powers(keep, patches))))
        for keep in KEEPS
    )


@cache
def photos() -> tuple[bytes, ...]:
    """Twenty cuts of the sample pictures, of some of which the answers change as patches leave."""
    cuts = {"coffee": (0, 1, 2), "flower": (0, 1, 2), "koala": (0, 1, 2), "rocket": (0, 1, 2)}
    cuts |= {"temple": (0, 1, 2, 3, 4), "cat": (0, 1, 4)}
    found = []
    for name, numbers in cuts.items():
        with Image.open(SMALL_ASSETS / "samples" / f"{name}.jpg") as picture:
            whole, short = picture.convert("RGB"), min(picture.size)
        for number in numbers:
            side = int(short * (1 - 0.04 * number))
            edge = (short - side) // 2
            data = io.BytesIO()
            whole.crop((edge, edge, edge + side, edge + side)).resize((160, 160)).save(data, "PNG")
            found.append(data.getvalue())
    return tuple(found)


@cache
def agreeing(keep: float) -> int:
    """Of the photos, those on which the model at this keep ratio says what the dense one says."""
    dense, plain = (load(ModelSpec(str(path))) for path in (DENSE, TOKENS))
    powers = tuple(round(k, 4) for k in keep_powers(keep, plain.model.patches))
    pruned = load(ModelSpec(str(TOKENS), keep=powers))
    same = 0
    for data in photos():
        first, second = (answer(model, open_photo(data))[0].top(1)[0].index for model in (dense, pruned))
        same += first == second
    return same
