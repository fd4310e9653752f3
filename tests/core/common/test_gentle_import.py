"""Importing gently leaves the interpreter as it was, whatever comes of it."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from lora_manager_core.common.gentle_import import importing_gently


class TestImportingGently:
    def test_the_collector_rests_inside_and_goes_on_afterwards(self):
        interval_s = sys.getswitchinterval()

        with importing_gently("colorsys"):
            assert "colorsys" in sys.modules
            assert not gc.isenabled()
            assert sys.getswitchinterval() < interval_s

        assert gc.isenabled()
        assert sys.getswitchinterval() == interval_s

    def test_so_it_does_where_a_module_cannot_be_imported(self):
        interval_s = sys.getswitchinterval()

        with pytest.raises(ModuleNotFoundError), importing_gently("no_such_module_at_all"):
            pytest.fail("nothing may follow")

        assert gc.isenabled()
        assert sys.getswitchinterval() == interval_s

    def test_who_switched_the_collector_off_has_it_off(self):
        gc.disable()
        try:
            with importing_gently("colorsys"):
                pass
            assert not gc.isenabled()
        finally:
            gc.enable()

    def test_torch_works_and_the_collector_leaves_it_alone(self):
        pytest.importorskip("torch")
        script = (
            "import gc, sys\n"
            "from lora_manager_core.common.gentle_import import importing_gently\n"
            "assert 'torch' not in sys.modules\n"
            "with importing_gently('torch'):\n"
            "    pass\n"
            "import torch\n"
            "assert gc.get_freeze_count() > 10_000, gc.get_freeze_count()\n"
            "print(int((torch.ones(3, 3) @ torch.ones(3, 3)).sum()))\n"
        )

        ran = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
        )

        assert (ran.returncode, ran.stdout) == (0, "27\n"), ran.stderr
