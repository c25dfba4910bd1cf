"""Which device measures, answered without importing torch where the answer needs none."""

import sys
from pathlib import Path

# One of these exists wherever a Linux machine has a driver that torch's cuda can use: NVIDIA's, that of WSL, Tegra's,
# and AMD's (ROCm answers to the name of cuda).
_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/nvhost-ctrl-gpu", "/dev/nvgpu", "/dev/kfd")


def resolve_device(name: str) -> str:
    """A torch device name; `auto` takes cuda where there is one."""
    if name != "auto":
        return name
    if not _may_have_cuda():
        return "cpu"
    import torch  # seconds: a run that finds its evidence should not need it

    return "cuda" if torch.cuda.is_available() else "cpu"


def _may_have_cuda() -> bool:
    return not sys.platform.startswith("linux") or any(Path(driver).exists() for driver in _DRIVERS)
