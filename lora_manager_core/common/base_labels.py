"""The names of base models as people see them, and how other programs' spellings map to them.

Sources of the spellings: Civitai's `baseModel` enumeration, kohya sd-scripts `sai_model_spec.py`
(`modelspec.architecture`) and its `ss_base_model_version`, musubi-tuner and AI-toolkit metadata.
"""

from __future__ import annotations

from functools import lru_cache

# Label → architecture: adapters of one architecture fit the same checkpoints, tensor for tensor.
ARCHITECTURES = {
    "SD 1.5": "SD 1.5",
    "SD 2.x": "SD 2.x",
    "SDXL": "SDXL",
    "SDXL Refiner": "SDXL Refiner",
    "Pony": "SDXL",
    "Illustrious": "SDXL",
    "NoobAI": "SDXL",
    "Animagine": "SDXL",
    "SD 3": "SD 3",
    "SD 3.5 Medium": "SD 3.5 Medium",
    "SD 3.5 Large": "SD 3.5 Large",
    "Flux.1": "Flux.1",
    "Flux.1 or Chroma": "Flux.1 or Chroma",
    "Chroma": "Chroma",
    "Flux.2": "Flux.2",
    "Flux.2 Klein 4B": "Flux.2 Klein 4B",
    "Flux.2 Klein 9B": "Flux.2 Klein 9B",
    "Flux.2 Dev": "Flux.2 Dev",
    "Qwen-Image": "Qwen-Image",
    "Z-Image": "Z-Image",
    "Lumina 2": "Lumina 2",
    "Wan": "Wan",
    "Wan 2.1 1.3B": "Wan 1.3B",
    "Wan 2.2 5B": "Wan 5B",
    "Wan 14B": "Wan 14B",
    "Wan 14B I2V": "Wan 14B",
    "Wan 2.1 14B": "Wan 14B",
    "Wan 2.1 14B I2V": "Wan 14B",
    "Wan 2.2 14B": "Wan 14B",
    "Wan 2.2 14B I2V": "Wan 14B",
    "Anima": "Anima",
    "Krea 2": "Krea 2",
    "Hunyuan Video": "Hunyuan Video",
    "Hunyuan Image": "Hunyuan Image",
    "HiDream": "HiDream",
    "LTX": "LTX",
    "AuraFlow": "AuraFlow",
    "PixArt": "PixArt",
    "Kolors": "Kolors",
}

# What an undecided architecture may turn out to be.
_MEMBERS = {
    "SD 3": {"SD 3.5 Medium", "SD 3.5 Large"},
    "Flux.1 or Chroma": {"Flux.1", "Chroma"},
    "Flux.2": {"Flux.2 Klein 4B", "Flux.2 Klein 9B", "Flux.2 Dev"},
    "Wan": {"Wan 1.3B", "Wan 5B", "Wan 14B"},
}

# Within one architecture: a label and those that say more. A family of SDXL says more than SDXL.
_SAYS_MORE = {
    "SDXL": {"Pony", "Illustrious", "NoobAI", "Animagine"},
    "Wan 14B": {
        "Wan 14B I2V", "Wan 2.1 14B", "Wan 2.1 14B I2V", "Wan 2.2 14B", "Wan 2.2 14B I2V",
    },
    "Wan 14B I2V": {"Wan 2.1 14B I2V", "Wan 2.2 14B I2V"},
    "Wan 2.1 14B": {"Wan 2.1 14B I2V"},
    "Wan 2.2 14B": {"Wan 2.2 14B I2V"},
}  # fmt: skip

SDXL_FAMILIES = frozenset(_SAYS_MORE["SDXL"])

# Spellings without case, spaces, dots, dashes and underscores that mean exactly one label.
_EXACT = {
    "other": None,
    "none": None,
    "sdv1": "SD 1.5", "sd1": "SD 1.5", "stablediffusionv1": "SD 1.5",
    "sdv2": "SD 2.x", "sdv2v": "SD 2.x", "sd2": "SD 2.x", "sdv2768v": "SD 2.x",
    "xl": "SDXL", "ponyv7": "AuraFlow",  # Pony V7 left SDXL for AuraFlow
    "sd3m": "SD 3", "sd3medium": "SD 3", "anima": "Anima",
}  # fmt: skip

# Beginnings of such spellings, tried in this order: what says more stands before what says less.
_BEGINNINGS = (
    ("ponydiffusionv7", "AuraFlow"), ("pony", "Pony"),
    ("illustrious", "Illustrious"), ("noobai", "NoobAI"), ("animagine", "Animagine"),
    ("sd1", "SD 1.5"), ("stablediffusionv1", "SD 1.5"), ("stablediffusion1", "SD 1.5"),
    ("sdv1", "SD 1.5"),
    ("sd2", "SD 2.x"), ("stablediffusionv2", "SD 2.x"), ("stablediffusion2", "SD 2.x"),
    ("sdv2", "SD 2.x"),
    ("sdxlrefiner", "SDXL Refiner"), ("stablediffusionxlv1refiner", "SDXL Refiner"),
    ("stablediffusionxlrefiner", "SDXL Refiner"),
    ("sdxl", "SDXL"), ("stablediffusionxl", "SDXL"),
    ("sd35medium", "SD 3.5 Medium"), ("sd35m", "SD 3.5 Medium"),
    ("stablediffusion35medium", "SD 3.5 Medium"), ("stablediffusion35m", "SD 3.5 Medium"),
    ("stablediffusionv35medium", "SD 3.5 Medium"),
    ("sd35large", "SD 3.5 Large"), ("sd35l", "SD 3.5 Large"),
    ("stablediffusion35large", "SD 3.5 Large"), ("stablediffusion35l", "SD 3.5 Large"),
    ("stablediffusionv35large", "SD 3.5 Large"),
    ("sd3", "SD 3"), ("stablediffusion3", "SD 3"), ("stablediffusionv3", "SD 3"),
    ("flux2klein4b", "Flux.2 Klein 4B"), ("flux2klein9b", "Flux.2 Klein 9B"),
    ("flux2d", "Flux.2 Dev"), ("flux2", "Flux.2"),
    ("flux1", "Flux.1"), ("fluxdev", "Flux.1"), ("fluxschnell", "Flux.1"),
    ("fluxkontext", "Flux.1"), ("fluxkrea", "Flux.1"),
    ("chroma", "Chroma"),
    ("qwen", "Qwen-Image"),
    ("zimage", "Z-Image"),
    ("lumina", "Lumina 2"),
    ("animapreview", "Anima"),
    ("krea2", "Krea 2"),
    ("hunyuanvideo", "Hunyuan Video"), ("framepack", "Hunyuan Video"),
    ("hunyuanimage", "Hunyuan Image"),
    ("hidream", "HiDream"),
    ("ltx", "LTX"),
    ("auraflow", "AuraFlow"), ("pixart", "PixArt"), ("kolors", "Kolors"),
)  # fmt: skip

_DROPPED = str.maketrans("", "", " ._-+/\\()[]:,'\"")


def architecture_of(label: str) -> str:
    """The architecture behind a label (Pony → SDXL); an unknown label is its own."""
    return ARCHITECTURES.get(label, label)


def compatible(a: str, b: str) -> bool:
    """Whether an adapter of base `a` may fit a checkpoint of base `b`, or the other way round."""
    return narrower(a, b) is not None


def narrower(a: str, b: str) -> str | None:
    """The label of the two that says more, None where they contradict each other.

    Two labels of one architecture of which neither says more (Pony, Illustrious) give `a`.
    """
    if a == b:
        return a
    arch_a, arch_b = architecture_of(a), architecture_of(b)
    if arch_a == arch_b:
        return b if b in _SAYS_MORE.get(a, ()) else a
    if arch_b in _MEMBERS.get(arch_a, ()):
        return b
    if arch_a in _MEMBERS.get(arch_b, ()):
        return a
    return None


@lru_cache(maxsize=1024)
def normalise_label(text: str) -> str | None:
    """The label for a Civitai `baseModel`, `ss_base_model_version` or `modelspec.architecture`.

    Our own labels map to themselves; what is not known gives None.
    """
    if text in ARCHITECTURES:
        return text
    plain = text.strip().lower().removesuffix("/lora").removesuffix("/textual-inversion")
    plain = plain.translate(_DROPPED)
    if plain in _EXACT:
        return _EXACT[plain]
    if plain.startswith("wan"):
        return _wan(plain)
    for beginning, label in _BEGINNINGS:
        if plain.startswith(beginning):
            return label
    return "Flux.1" if plain == "flux" else None


def _wan(plain: str) -> str | None:
    """`wanvideo22i2va14b` → Wan 2.2 14B I2V; the sizes are those Wan was published in."""
    rest = plain.removeprefix("wan").removeprefix("video")
    if rest[:1] not in ("", "1", "2", "5", "t", "i"):
        return None
    if "13b" in rest:
        return "Wan 2.1 1.3B"
    if "5b" in rest and "14b" not in rest:
        return "Wan 2.2 5B"
    version = {"21": " 2.1", "22": " 2.2"}.get(rest[:2], "")
    image = "i2v" in rest.replace("ti2v", "")
    if "14b" in rest or (version == " 2.2" and image):  # 2.2: only the 14B has a plain I2V model
        return f"Wan{version} 14B{' I2V' if image else ''}"
    return "Wan"
