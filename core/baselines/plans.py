"""What a peer costs, in closed form, and the setting whose cost comes nearest to a given one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.config import Peer
from core.costs.geometry import Geometry
from core.costs.macs import attention_macs, ffn_macs
from core.errors import InputError
from core.results import MacCount
from core.soft_tokens.decide import keep_count

PEER_WORDS: dict[Peer, str] = {
    "tome": "token merging (ToMe)",
    "evit": "fusing inattentive tokens (EViT)",
    "random-dense": "random dropping",
}
HALVINGS = 50
"""Steps of the bisection: to the last bits of a rate."""


@dataclass(frozen=True)
class Plan:
    """A peer and its setting, the same for every photo."""

    peer: Peer
    geometry: Geometry
    """Of the dense model."""
    blocks: tuple[int, ...]
    """Where it acts, from 0, rising; merging acts in all of them."""
    amounts: tuple[int, ...]
    """For each of `blocks`: tokens that are merged away, or tokens that are kept, prefix not counted."""

    @property
    def macs(self) -> MacCount:
        """Of one image."""
        return count_plan(self)

    def tokens(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Tokens that each block's attention computes, and its FFN, prefix included, L each."""
        there = self.geometry.patches + self.geometry.prefix_tokens
        at = dict(zip(self.blocks, self.amounts, strict=True))
        attention, ffn = [], []
        for block in range(self.geometry.depth):
            after = self._after(there, at[block]) if block in at else there
            attention.append(after if self.peer == "random-dense" else there)
            ffn.append(after)
            there = after
        return tuple(attention), tuple(ffn)

    def _after(self, there: int, amount: int) -> int:
        """Tokens left of `there` where the peer acts."""
        prefix = self.geometry.prefix_tokens
        if self.peer == "tome":
            return there - amount
        if amount >= there - prefix:
            return there
        return prefix + amount + (self.peer == "evit")


def count_plan(plan: Plan) -> MacCount:
    """MACs of one image under a plan; what a peer adds to the blocks stands under `selectors`.

    Merging adds the similarities, (n // 2) (n - n // 2) D / H for n tokens, and r D for the means; fusing adds one per
    channel of each token that is fused, as `core.costs.macs.package_macs` counts it. Left out, as everywhere: norms,
    sorting.
    """
    geometry, blocks = plan.geometry, plan.geometry.blocks()
    attention, ffn = plan.tokens()
    at = dict(zip(plan.blocks, plan.amounts, strict=True))
    added = 0
    for block, before in enumerate(attention):
        width = blocks[block].width
        if plan.peer == "tome" and at[block]:
            half = (before - geometry.prefix_tokens) // 2
            others = before - geometry.prefix_tokens - half
            added += half * others * (width // blocks[block].heads) + at[block] * width
        elif plan.peer == "evit" and block in at:
            added += max(0, before - geometry.prefix_tokens - at[block]) * width
    return geometry.overhead(blocks) + MacCount(
        attention=sum(attention_macs(tokens, block.width) for tokens, block in zip(attention, blocks, strict=True)),
        ffn=sum(ffn_macs(tokens, block.width, block.ffn) for tokens, block in zip(ffn, blocks, strict=True)),
        selectors=added,
    )


def merging_plan(geometry: Geometry, merges: Sequence[int]) -> Plan:
    """Merging with `merges` pairs asked for in each block, or half of the tokens there where they are fewer."""
    there, done = geometry.patches, []
    for asked in merges:
        done.append(min(asked, there // 2))
        there -= done[-1]
    return Plan("tome", geometry, tuple(range(geometry.depth)), tuple(done))


def keeping_plan(peer: Peer, geometry: Geometry, blocks: Sequence[int], rate: float) -> Plan:
    """Fusing or dropping with one keep rate: at each of `blocks`, ceil(rate n) of the n tokens there stay.

    n counts patches and, where one was fused before, the fused token.
    """
    there, kept = geometry.patches, []
    for _ in blocks:
        kept.append(max(1, keep_count(rate, there)))
        there = kept[-1] + (peer == "evit" and kept[-1] < there)
    return Plan(peer, geometry, tuple(blocks), tuple(kept))


def fit_plan(peer: Peer, geometry: Geometry, blocks: Sequence[int], macs: float, *, never_above: bool = False) -> Plan:
    """The plan of a peer whose count is nearest to `macs`; the cheaper one of two that are as near.

    Merging takes r tokens away in every block, as in its paper, and one more in some, the first ones first: a constant
    r alone would come in steps too coarse to compare by. The others take one keep rate for all `blocks`.

    Args:
        peer: Which.
        geometry: The dense model.
        blocks: Where tokens are fused or dropped, from 0, rising; merging does not look at them.
        macs: MACs of one image (not G).
        never_above: Only plans that cost `macs` or less.

    Raises:
        InputError: If the peer cannot cost that; says between what it costs.
    """
    if peer == "tome":
        least, most = (
            merging_plan(geometry, [geometry.patches] * geometry.depth),
            merging_plan(geometry, [0] * geometry.depth),
        )
    else:
        least, most = (keeping_plan(peer, geometry, blocks, rate) for rate in (0.0, 1.0))
    low, high = least.macs.total, most.macs.total
    if not low <= macs <= high:
        words = PEER_WORDS[peer]
        raise InputError(
            f"{words[0].upper()}{words[1:]} costs {low / 1e9:.4g} to {high / 1e9:.4g} GMACs on this model, so "
            f"{macs / 1e9:.4g} cannot be reached."
        )
    if peer == "tome":
        plans = _merging_plans(geometry, macs)
    else:
        plans = _keeping_plans(lambda rate: keeping_plan(peer, geometry, blocks, rate), macs)
    return _nearest([plan for plan in plans if plan.macs.total <= macs] if never_above else plans, macs)


def _merging_plans(geometry: Geometry, macs: float) -> list[Plan]:
    """As many merges as leave the cost at `macs` or above it, dearest first; then one more somewhere, or everywhere."""

    def enough(merges: list[int]) -> bool:
        return merging_plan(geometry, merges).macs.total >= macs

    depth = geometry.depth
    base = max(r for r in range(geometry.patches // 2 + 1) if r == 0 or enough([r] * depth))
    merges = [base] * depth
    for block in range(depth):
        if enough(more := _one_more(merges, block)):
            merges = more
    more = [_one_more(merges, block) for block in range(depth)]
    return [merging_plan(geometry, some) for some in (merges, *more, [base + 1] * depth)]


def _one_more(merges: list[int], block: int) -> list[int]:
    return [count + (at == block) for at, count in enumerate(merges)]


def _keeping_plans(plan: Callable[[float], Plan], macs: float) -> list[Plan]:
    """The keep rates on either side of `macs`, by bisection, as the count rises with the rate.

    But for one step: to fuse a single token costs a little more than to keep it. So the rate of 1 is looked at too.
    """
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if plan(middle).macs.total <= macs else (low, middle)
    return [plan(low), plan(high), plan(1.0)]


def _nearest(plans: Sequence[Plan], macs: float) -> Plan:
    return min(plans, key=lambda plan: (abs(plan.macs.total - macs), plan.macs.total))


def default_blocks(depth: int) -> tuple[int, ...]:
    """Where a peer acts on a model without selectors: after a quarter, a half and three quarters of the blocks.

    Of 12 blocks these are 3, 6 and 9, where both arXiv:2202.07800 and arXiv:2112.13890 act.
    """
    return tuple(sorted({max(1, depth * quarter // 4) for quarter in (1, 2, 3)} - {depth}))
