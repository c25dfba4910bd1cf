"""Figures of what was written, or of real media through the same codec: measured once, then found as evidence."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.decoder import Decoder
from harness.decoding import Sample
from harness.errors import EvidenceError
from harness.evidence import Arrays, EvidenceStore
from harness.examples import Example, expected_length, regions
from harness.outputs.codes import code_figures
from harness.token_space import Modality, TokenSpace

# Part of the key: a change of how a figure is computed makes old evidence unusable.
FIGURES_VERSION = 1
_FINGERPRINTS = "fingerprints"


@dataclass(frozen=True)
class Outputs:
    """The media of N examples, those left out that could not be decoded.

    Attributes:
        examples: the examples that they belong to.
        prompts: what each was written for, as ids in bytes; equal prompts may give equal outputs.
        codes: each one's codes, (K, T).
        figures: name -> (N,), as `code_figures`, `picture_figures` and `sound_figures` describe them; empty without
            media.
        fingerprints: (N, D), perceptual hashes as 0 and 1, or mel spectra in dB.
        failed: ids of the examples whose media could not be decoded.
    """

    examples: tuple[Example, ...]
    prompts: tuple[bytes, ...]
    codes: tuple[np.ndarray, ...]
    figures: dict[str, np.ndarray]
    fingerprints: np.ndarray
    failed: tuple[str, ...]


def measure_beside_real(
    examples: Sequence[Example], sequences: Sequence[np.ndarray], decode: Decoder
) -> tuple[Outputs, Outputs]:
    """Figures of what was written for golden examples, and of their own media through the same codec.

    Both are decoded from ids alone, so that real media are no louder for scales which nobody generates.

    Raises:
        EvidenceError: no golden media decode, so that there is nothing to hold the others against.
    """
    task, space = examples[0].task, decode.space
    golden = [example.input_ids[regions(example, space).media] for example in examples]
    own, real = (
        measure_outputs(
            examples, ids, decode(examples, ids, label=f"{task}: decoding{of}"), space, decode.evidence,
            f"{task}: figures{of}",
        )
        for ids, of in ((sequences, ""), (golden, " of golden media"))
    )  # fmt: skip
    if not real.examples:
        raise EvidenceError(
            f"{task}: golden media",
            f"none of {len(golden)} decoded, such as {real.failed[0]}",
            "media that the codec decodes",
            "Use the codec that made the shards and the golden set.",
        )
    return own, real


def measure_outputs(
    examples: Sequence[Example],
    sequences: Sequence[np.ndarray],
    samples: Sequence[Sample],
    space: TokenSpace,
    evidence: EvidenceStore,
    label: str,
) -> Outputs:
    """Figures of decoded media, or what was found of them.

    Args:
        examples: write examples of one task.
        sequences: each one's ids, at least as many as its own media have where they could be decoded.
        samples: what became of them.
        space: the token space.
        evidence: where figures are kept, by the media and codes themselves.
        label: for the reader.
    """
    decoded = [i for i, sample in enumerate(samples) if sample.media is not None]
    media = [sample.media for sample in samples if sample.media is not None]
    codes = [_codes(examples[i], sequences[i], space) for i in decoded]
    found: Arrays = {}
    if media:
        modality = examples[0].modality
        provenance = {
            "measurement": "output-figures",
            "version": FIGURES_VERSION,
            "modality": modality,
            "sha256": _sha256(media, codes),
            "n": len(media),
        }
        found = evidence.get(provenance, lambda: _measure(media, codes, modality), label)
    return Outputs(
        examples=tuple(examples[i] for i in decoded),
        prompts=tuple(examples[i].input_ids[: regions(examples[i], space).content.start].tobytes() for i in decoded),
        codes=tuple(codes),
        figures={name: array for name, array in found.items() if name != _FINGERPRINTS},
        fingerprints=found.get(_FINGERPRINTS, np.empty((0, 0))),
        failed=tuple(example.id for example, sample in zip(examples, samples, strict=True) if sample.media is None),
    )


def _measure(media: Sequence[bytes], codes: Sequence[np.ndarray], modality: Modality) -> Arrays:
    # Imported here: SciPy's signal processing and the hashes are needed only where something is measured.
    from harness.outputs.pictures import picture_figures
    from harness.outputs.sounds import sound_figures

    seen = [(picture_figures if modality == "image" else sound_figures)(content) for content in media]
    rows = [code_figures(each) | figures for each, (figures, _) in zip(codes, seen, strict=True)]
    arrays = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return arrays | {_FINGERPRINTS: np.stack([fingerprint for _, fingerprint in seen]).astype(np.float64)}


def _codes(example: Example, ids: np.ndarray, space: TokenSpace) -> np.ndarray:
    """(K, T), K being 1 for a picture: of as many ids as were decoded."""
    media = regions(example, space).media
    n_ids = expected_length(example.meta, example.modality) or media.stop - media.start
    return np.atleast_2d(space.to_codes(example.modality, ids[:n_ids]))


def _sha256(media: Sequence[bytes], codes: Sequence[np.ndarray]) -> str:
    """SHA-256 hex over media and codes, in order."""
    digest = hashlib.sha256()
    for content, each in zip(media, codes, strict=True):
        sizes = np.array([len(content), *each.shape], dtype="<i8")
        digest.update(sizes.tobytes() + content + each.astype("<i8").tobytes())
    return digest.hexdigest()
