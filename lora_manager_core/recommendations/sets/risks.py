"""What figures of a set mean together: totals, and what speaks against it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from lora_manager_core.library.base_model import compatible
from lora_manager_core.recommendations.sets.classes import DAMAGE_CORRELATION
from lora_manager_core.recommendations.sets.schemas import Risk, SetMember, SetPair, SetTotals


def totals_of(
    members: Sequence[SetMember], pairs: Sequence[SetPair], profiles: Mapping[str, dict[str, Any]]
) -> SetTotals:
    """The set as a whole: ‖Σ wΔ‖² = Σ w²n² + 2 Σ w₁w₂n₁n₂cos, over what was measured."""
    known = {m.lora_id: m for m in members if m.norm is not None and m.strength is not None}
    pairs = [pair for pair in pairs if all(i in known for i in pair.lora_ids)]
    blocks: dict[str, float] = defaultdict(float)
    for member in known.values():
        for group, part in (profiles.get(member.lora_id, {}).get("blocks") or {}).items():
            blocks[group] += abs(member.weight) * part["norm"]
    overlaps = [pair.overlap for pair in pairs if pair.overlap is not None]
    return SetTotals(
        strength=sum(m.strength or 0.0 for m in known.values()) if known else None,
        combined=_combined(known, pairs) if known else None,
        mean_cosine=sum(abs(p.cosine) for p in pairs) / len(pairs) if pairs else None,
        mean_overlap=sum(overlaps) / len(overlaps) if overlaps else None,
        measured=len(known),
        blocks=dict(blocks) or None,
    )


def _combined(known: Mapping[str, SetMember], pairs: Sequence[SetPair]) -> float:
    signed = {i: m.weight * (m.norm or 0.0) for i, m in known.items()}
    energy = sum(value**2 for value in signed.values())
    for pair in pairs:
        one, two = pair.lora_ids
        energy += 2 * signed[one] * signed[two] * pair.cosine
    return math.sqrt(max(energy, 0.0))


def risks_of(members: Sequence[SetMember], pairs: Sequence[SetPair]) -> list[Risk]:
    """What speaks against the set, pairs first. A weight below 0 turns an adapter round."""
    weights = {member.lora_id: member.weight for member in members}
    risks = [
        risk
        for pair in pairs
        if all(weights[i] for i in pair.lora_ids)
        and (risk := pair_risk(pair, weights[pair.lora_ids[0]] * weights[pair.lora_ids[1]] < 0))
    ]
    for one, two in combinations(members, 2):
        bases = one.base_model, two.base_model
        if bases[0] and bases[1] and not compatible(bases[0], bases[1]):
            risks.append(
                Risk(
                    code="base_models_differ",
                    message=f"“{one.lora_name}” was made for {bases[0]}, “{two.lora_name}” for "
                    f"{bases[1]}: no checkpoint fits both.",
                    lora_ids=[one.lora_id, two.lora_id],
                )
            )
    return risks


def pair_risk(pair: SetPair, turned: bool) -> Risk | None:
    """What the likeness of two adapters speaks against, if anything."""
    names = f"“{pair.lora_names[0]}” and “{pair.lora_names[1]}”"
    number = f"cosine {pair.cosine:.2f}"
    if pair.relation == "near_duplicate":
        code, said = "near_duplicate", f"{names} are nearly the same ({number}); leave one out."
        if turned:
            said = (
                f"{names} are nearly the same ({number}) and take each other back; leave one out."
            )
    elif pair.relation in ("lineage", "opposed"):
        pulls_apart = (pair.relation == "opposed") != turned
        code = "opposed" if pulls_apart else "strong_overlap"
        said = (
            f"{names} take back part of each other ({number})."
            if pulls_apart
            else f"{names} do much the same ({number}); together they act stronger than each says. "
            f"Rank correlation of cosines with damage: {DAMAGE_CORRELATION['abs_cosine']}."
        )
    else:
        return None
    return Risk.model_validate(
        {"code": code, "message": said, "lora_ids": pair.lora_ids, "value": pair.cosine}
    )
