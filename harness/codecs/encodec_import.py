"""Import `encodec` where torchaudio is absent or broken, and leave a working torchaudio alone.

encodec 0.1.1 imports torchaudio when it is imported, for file reading, resampling and the discriminator.
The network itself never uses it. PyPI's torchaudio is often unusable (a CUDA build raises OSError on a CPU
machine), and a broken one also breaks transformers. So for the length of `import encodec` only, a stand-in
takes its place; it raises clearly when anything but the network reaches for it.

transformers may be imported before or after: it asks `importlib.util.find_spec("torchaudio")`, which gives
None once this module is done, whether torchaudio was absent or broken.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

_NAME = "torchaudio"


class EncodecParts(NamedTuple):
    """The classes of encodec 0.1.1 that a codec is built of."""

    model: type[Any]  # encodec.model.EncodecModel
    encoder: type[Any]  # encodec.modules.SEANetEncoder
    decoder: type[Any]  # encodec.modules.SEANetDecoder
    quantizer: type[Any]  # encodec.quantization.ResidualVectorQuantizer


def encodec_model_class() -> type[Any]:
    """`encodec.model.EncodecModel`."""
    return encodec_parts().model


def encodec_parts() -> EncodecParts:
    """The classes to build an `EncodecModel` of, importing encodec on the first call.

    Raises:
        ImportError: If encodec is not installed.
    """
    if "encodec" not in sys.modules:
        with _usable_torchaudio():
            _import_encodec()
    model = importlib.import_module("encodec.model")
    modules = importlib.import_module("encodec.modules")
    quantization = importlib.import_module("encodec.quantization")
    return EncodecParts(
        model.EncodecModel, modules.SEANetEncoder, modules.SEANetDecoder, quantization.ResidualVectorQuantizer
    )


def _import_encodec() -> None:
    try:
        importlib.import_module("encodec")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"the package encodec or a dependency is missing ({error}); "
            "run: pip install --no-deps encodec==0.1.1 einops"
        ) from error


@contextlib.contextmanager
def _usable_torchaudio() -> Iterator[None]:
    """Have some torchaudio in sys.modules: the real one if it works, else the stand-in for the time being."""
    installed = _is_installed()
    if installed and _imports():
        yield
        return
    _forget()
    sys.modules[_NAME] = _StandIn()
    try:
        yield
    finally:
        _forget()
        if installed:
            # None makes `import torchaudio` raise ImportError and find_spec return None, instead of the
            # OSError that a broken build raises in whatever library tries it next.
            sys.modules[_NAME] = None  # type: ignore[assignment]


def _is_installed() -> bool:
    """Whether there is a torchaudio to try. An entry of None, somebody's veto, counts: it is kept."""
    return _NAME in sys.modules or importlib.util.find_spec(_NAME) is not None


def _imports() -> bool:
    """Whether the installed torchaudio can be imported. OSError: a shared library of another build is
    missing; RuntimeError: it was built for another torch or CUDA."""
    try:
        importlib.import_module(_NAME)
    except (ImportError, OSError, RuntimeError):
        return False
    return True


def _forget() -> None:
    """Remove torchaudio and what a failed import has left of it."""
    for name in [name for name in sys.modules if name == _NAME or name.startswith(f"{_NAME}.")]:
        del sys.modules[name]


class _StandIn(ModuleType):
    """Takes torchaudio's place while encodec is imported; every use of it is an error with a reason."""

    def __init__(self) -> None:
        super().__init__(_NAME, "stand-in: torchaudio is not usable here")
        # Without a spec, importlib.util.find_spec raises ValueError instead of answering.
        self.__spec__ = importlib.machinery.ModuleSpec(_NAME, loader=None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # inspection (pickle, doctest, hasattr) must get its usual answer
            raise AttributeError(name)
        raise RuntimeError(
            f"torchaudio.{name} was asked for, but torchaudio is not usable here. encodec's "
            "network needs none of it; its convert_audio, save_audio and discriminator do. "
            "Read and resample audio with soundfile and soxr, or install torchaudio."
        )
