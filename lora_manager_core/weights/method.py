"""The version of the sketches; apart, so that asking for it loads no numpy."""

from __future__ import annotations

#: Rises with every change of the numbers; sketches of different methods are never compared.
METHOD = 1
