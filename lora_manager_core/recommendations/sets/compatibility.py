"""Do these adapters fight? Their weights beside each other, in numbers and in words.

Nothing here is a verdict: recommendations.md, section 2, has how well these figures foretold the
measured damage of merging.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.common.paths import require_inside
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import AdapterNotFound, InvalidRequest
from lora_manager_core.recommendations.sets.classes import (
    DAMAGE_CORRELATION,
    DAMAGE_PAIRS,
    SKETCH_NOISE,
    in_words,
    relation_of,
)
from lora_manager_core.recommendations.sets.repository import SetRows, SketchRow
from lora_manager_core.recommendations.sets.risks import risks_of, totals_of
from lora_manager_core.recommendations.sets.schemas import (
    CompatibilityAnswer,
    CompatibilityRequest,
    NotCompared,
    PairBlock,
    SetMember,
    SetPair,
    SetTotals,
)

if TYPE_CHECKING:
    from lora_manager_core.weights.overlap import Comparison

#: Ten pairs: some twenty seconds of SDXL files.
MOST_EXACT = 5


class CompatibilityService:
    """Judges sets. Files are only read from below `library_roots`."""

    def __init__(self, database: Database, library_roots: Callable[[], Sequence[Path]]) -> None:
        self._database = database
        self._library_roots = library_roots

    def check(self, request: CompatibilityRequest) -> CompatibilityAnswer:
        """The adapters of a set beside each other.

        Raises:
            AdapterNotFound: ids are unknown (named in `unknown_ids`).
            InvalidRequest: too many for exact figures, or a weight of one that is not in the set.
        """
        ids = list(dict.fromkeys(request.adapter_ids))
        if request.exact and len(ids) > MOST_EXACT:
            raise InvalidRequest(
                f"At most {MOST_EXACT} adapters can be compared exactly; leave some out, or ask "
                "without `exact`."
            )
        strangers = sorted(set(request.weights) - set(ids))
        if strangers:
            raise InvalidRequest(
                "`weights` names adapters that are not in `adapter_ids`; add them or leave them "
                "out.",
                unknown_ids=strangers,
            )
        with self._database.read() as session:
            adapters = Adapters(session).get_many(ids)
            unknown = sorted(set(ids) - {adapter.id for adapter in adapters})
            if unknown:
                raise AdapterNotFound(
                    f"{len(unknown)} of the adapters are unknown.", unknown_ids=unknown
                )
            rows = SetRows(session)
            sketches, profiles = rows.sketches(ids), rows.profiles(ids)
            weights = {a.id: request.weights.get(a.id, a.weight) for a in adapters}
            members = [
                _member(a, weights[a.id], sketches.get(a.id), profiles.get(a.id)) for a in adapters
            ]
        if request.exact:
            pairs, problems, norms = self._exactly(adapters)
            for member in members:
                member.norm = norms.get(member.lora_id)
                member.strength = None if member.norm is None else abs(member.weight) * member.norm
        else:
            pairs, problems = _by_sketches(adapters, sketches)
        totals = totals_of(members, pairs, profiles)
        not_compared = [
            NotCompared(lora_id=a.id, lora_name=a.name, reason=problems[a.id])
            for a in adapters
            if a.id in problems
        ]
        risks = risks_of(members, pairs)
        return CompatibilityAnswer(
            method="exact" if request.exact else "sketch",
            adapters=members,
            pairs=pairs,
            totals=totals,
            risks=risks,
            not_compared=not_compared,
            reliability={
                "spearman_with_damage": DAMAGE_CORRELATION,
                "pairs": DAMAGE_PAIRS,
                "meaning": "a risk with its numbers, not a verdict: 1 would foretell it, 0 nothing",
            },
            summary=_summary(members, totals, not_compared, [risk.message for risk in risks]),
        )

    def _exactly(
        self, adapters: Sequence[Adapter]
    ) -> tuple[list[SetPair], dict[str, str], dict[str, float]]:
        """Pairs, and problems and norms by id."""
        from lora_manager_core.recommendations.sets.exact import compare_all

        paths = {
            adapter.id: require_inside(adapter.file_path, self._library_roots(), "The model file")
            for adapter in adapters
        }
        unsafe = {i: _UNSAFE for i, path in paths.items() if path.suffix.lower() != _SAFE}
        found = compare_all({i: path for i, path in paths.items() if i not in unsafe})
        by_id = {adapter.id: adapter for adapter in adapters}
        pairs = [_exact_pair(by_id[a], by_id[b], of) for (a, b), of in found.pairs.items()]
        return pairs, unsafe | found.problems, found.norms


_SAFE = ".safetensors"
_UNSAFE = "only .safetensors files are opened"
_NOT_YET = "its weights have not been looked at yet; that is done in the background"


def _by_sketches(
    adapters: Sequence[Adapter], sketches: Mapping[str, SketchRow]
) -> tuple[list[SetPair], dict[str, str]]:
    import numpy as np

    problems: dict[str, str] = {}
    vectors = {}
    for adapter in adapters:
        row = sketches.get(adapter.id)
        if row is not None and row.sketch is not None:
            vector = np.frombuffer(row.sketch, dtype="<f2").astype(np.float32)
            vectors[adapter.id] = vector / max(float(np.linalg.norm(vector)), 1e-12)
        elif row is not None:
            problems[adapter.id] = row.problem or _NOT_YET
        else:
            safe = adapter.file_path.lower().endswith(_SAFE)
            problems[adapter.id] = _NOT_YET if safe else _UNSAFE
    pairs = []
    for one, two in combinations(adapters, 2):
        if one.id in vectors and two.id in vectors:
            cosine = float(np.clip(vectors[one.id] @ vectors[two.id], -1.0, 1.0))
            rough = sketches[one.id].approximate or sketches[two.id].approximate
            pairs.append(_pair(one, two, cosine, SKETCH_NOISE, rough))
    return pairs, problems


def _pair(
    one: Adapter, two: Adapter, cosine: float, uncertainty: float, approximate: bool
) -> SetPair:
    relation = relation_of(cosine)
    sure = f" ± {uncertainty:g}" if uncertainty else ""
    return SetPair(
        lora_ids=[one.id, two.id],
        lora_names=[one.name, two.name],
        cosine=cosine,
        uncertainty=uncertainty,
        relation=relation,
        overlap=None,
        shared_modules=None,
        blocks=None,
        approximate=approximate,
        summary=f"“{one.name}” and “{two.name}”: {in_words(relation)} (cosine {cosine:.2f}{sure}).",
    )


def _exact_pair(one: Adapter, two: Adapter, found: Comparison) -> SetPair:
    pair = _pair(one, two, found.whole.cosine, 0.0, found.approximate)
    pair.overlap, pair.shared_modules = found.whole.overlap, found.whole.shared
    pair.blocks = {
        group: PairBlock(cosine=f.cosine, overlap=f.overlap, shared_modules=f.shared)
        for group, f in found.blocks.items()
    }
    pair.summary += f" {found.whole.overlap:.0%} of their outputs overlap beyond chance."
    return pair


def _member(
    adapter: Adapter, weight: float, row: SketchRow | None, profile: dict[str, Any] | None
) -> SetMember:
    norm = None if row is None else row.norm
    blocks = (profile or {}).get("blocks") if norm is not None else None
    return SetMember(
        lora_id=adapter.id,
        lora_name=adapter.name,
        base_model=adapter.base_model,
        weight=weight,
        norm=norm,
        strength=None if norm is None else abs(weight) * norm,
        blocks=None if not blocks else {group: part["share"] for group, part in blocks.items()},
    )


def _summary(
    members: Sequence[SetMember],
    totals: SetTotals,
    not_compared: Sequence[NotCompared],
    risks: Sequence[str],
) -> list[str]:
    lines = []
    if totals.strength is not None and totals.combined is not None:
        lines.append(
            f"Together they change weights by {totals.combined:.3g} (norm); one by one it would be "
            f"{totals.strength:.3g}. The sum of norms went along with damage at a rank correlation "
            f"of {DAMAGE_CORRELATION['norm_sum']}."
        )
    lines += risks
    if not risks and len(members) > 1 and totals.measured > 1:
        lines.append("By these figures nothing speaks against the set; the eye decides.")
    lines += [f"“{one.lora_name}” was not compared: {one.reason}." for one in not_compared]
    return lines
