"""SD.Next runs this file at start; everything else is in `extension/` and `lora_manager_core/`.

Our folder is on the path only while this file runs, and as a relative one: so both roots are put
there as absolute ones, and both packages imported at once. Their modules can then come later.
"""

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_ROOT), str(_ROOT / "extension")]

import lora_manager_core  # noqa: E402, F401
import lora_manager_ext  # noqa: E402, F401
from lora_manager_ext.lifecycle import register  # noqa: E402

#: The host looks for script classes among the names of this file.
LoraManagerScript = register()
