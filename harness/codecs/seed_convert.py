"""Make a SEED codec's folder of the published files: `python -m harness.codecs.seed_convert FOLDER`.

Put seed_quantizer.pt, and eva_vit_g.pth where pictures are to be encoded, into FOLDER; the safetensors and a
config.json appear beside them. The pickles are read without running them, and left where they are.
"""

import sys
from pathlib import Path

from harness.codecs.seed_config import CONFIG_FILE, SeedConfig, read_config, write_config
from harness.codecs.seed_weights import VISION_FILE, WEIGHTS_FILE, open_weights
from harness.convert import convert_state_dict
from harness.errors import HarnessError

SOURCES = {"seed_quantizer.pt": WEIGHTS_FILE, "eva_vit_g.pth": VISION_FILE}


def convert(folder: Path) -> list[str]:
    """Convert what is not converted yet, and account for every key. Returns what was done, a sentence each.

    Raises:
        HarnessError: a pickle holds more than tensors, or the folder is then no codec's.
    """
    done = []
    for name, target in SOURCES.items():
        if (folder / name).is_file() and not (folder / target).is_file():
            converted = convert_state_dict(folder / name, folder / target)
            done.append(f"{converted.source.name} -> {converted.target.name}: {converted.what}.")
    if not (folder / CONFIG_FILE).is_file():
        write_config(SeedConfig(), folder)
        done.append(f"{CONFIG_FILE}: the published settings.")
    return [*done, open_weights(folder, read_config(folder)).describe()]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        print("\n".join(convert(Path(sys.argv[1]))))
    except HarnessError as error:
        sys.exit(str(error))
