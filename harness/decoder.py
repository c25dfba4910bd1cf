"""Decoding as evidence: what a codec made of the same ids before is found, so that the codec is not even loaded."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness import decoding
from harness.codecs.chunks import has_scales
from harness.codecs.registry import codec_folder, declaration_of, load_audio_codec, load_image_codec, origin_of
from harness.decoding import Sample
from harness.evidence import EvidenceStore
from harness.examples import Example
from harness.files import tree_sha256
from harness.token_space import Modality, TokenSpace

# Part of the key: a change of how ids are decoded or checked makes old evidence unusable.
DECODING_VERSION = 3


@dataclass(frozen=True)
class Decoder:
    """Decodes ids with the codecs that the token space declares.

    Attributes:
        space: the token space.
        codecs: holds the codecs' folders.
        evidence: where what was decoded is kept, media and all.
    """

    space: TokenSpace
    codecs: Path
    evidence: EvidenceStore

    def __call__(
        self, examples: Sequence[Example], sequences: Sequence[np.ndarray], *, label: str, own_scales: bool = False
    ) -> list[Sample]:
        """What becomes of each sequence, held against its example's meta; `own_scales` as in `decode_sounds`.

        Raises:
            CodecError: the codec is unknown, or its weights are not the declared ones.
        """
        modality = examples[0].modality
        # Where no meta has scales it is all the same, and what was decoded once serves both.
        own_scales = own_scales and any(has_scales(example.meta) for example in examples)
        provenance = {
            "measurement": "decode",
            "version": DECODING_VERSION,
            "token_space_sha256": self.space.sha256,
            "codec": origin_of(declaration_of(modality, self.space)),
            "codec_sha256": tree_sha256(codec_folder(modality, self.codecs)),
            "ids_sha256": _sha256(examples, sequences),
            "modality": modality,
            "own_scales": own_scales,
            "n": len(examples),
        }

        def measure() -> dict[str, np.ndarray]:
            return decoding.to_arrays(self._decode(modality, examples, sequences, own_scales))

        return decoding.from_arrays(self.evidence.get(provenance, measure, label))

    def _decode(
        self, modality: Modality, examples: Sequence[Example], sequences: Sequence[np.ndarray], own_scales: bool
    ) -> list[Sample]:
        if modality == "image":
            return decoding.decode_images(examples, sequences, load_image_codec(self.space, self.codecs), self.space)
        codec = load_audio_codec(self.space, self.codecs)
        return decoding.decode_sounds(examples, sequences, codec, self.space, own_scales=own_scales)


def _sha256(examples: Sequence[Example], sequences: Sequence[np.ndarray]) -> str:
    """SHA-256 hex over the ids, and each example with what its meta promises, in order."""
    digest = hashlib.sha256()
    for example, ids in zip(examples, sequences, strict=True):
        meta = json.dumps(example.meta, sort_keys=True).encode()
        sizes = np.array([len(meta), len(ids), len(example.input_ids)], dtype="<i8")
        digest.update(sizes.tobytes() + meta + example.input_ids.astype("<i8").tobytes() + ids.astype("<i8").tobytes())
    return digest.hexdigest()
