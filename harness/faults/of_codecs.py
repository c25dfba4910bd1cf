"""Faults of the codecs and of what the golden meta says of its media (P0.3, P1.3)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.codecs.registry import codec_folder, declaration_of, kind_of
from harness.codecs.weights import WEIGHTS_FILE, weights_file
from harness.faults.copies import Copy, NotApplicableError, clone_tree
from harness.faults.fault import Edit, Fault
from harness.faults.lines import Line, edit_example, edit_examples, meta_of
from harness.faults.of_identity import other_space, write_space
from harness.faults.shards import manifest_file, redeclare, shard_files
from harness.faults.weights import Tensors, edit_tensors, remove
from harness.files import file_sha256, read_json, write_bytes, write_json
from harness.token_space import FILE_NAME, Modality

GATES = ("P0.3",)
SAME = "Use the codec that made the shards"
DECLARE = "use the codec that made the shards, and declare its weights_sha256 in the token space"
META = "as the codec gave them"
LENGTH = "take the expected length of each example from its golden meta"


def _folder(copy: Copy, modality: Modality) -> Path:
    folder = codec_folder(modality, copy.input("codecs"))
    if not folder.is_dir() or not copy.bundle.space.ranges_of(modality):
        raise NotApplicableError(f"there is no {modality} codec")
    return folder


def _weights(copy: Copy, modality: Modality) -> Path:
    declared = declaration_of(modality, copy.bundle.space)
    file = weights_file(kind_of(declared), _folder(copy, modality))
    if file.name != WEIGHTS_FILE:
        raise NotApplicableError("the codec's weights are no safetensors file")
    return file


def _declared(copy: Copy, modality: Modality) -> Path:
    if not declaration_of(modality, copy.bundle.space).get("weights_sha256"):
        raise NotApplicableError("the token space declares no hash of the codec's weights")
    return _weights(copy, modality)


def _largest(tensors: Tensors, containing: str = "") -> Any:
    found = [tensor for name, tensor in tensors.items() if containing in name and tensor.is_floating_point()]
    if not found:
        raise NotApplicableError("the codec has no such weights")
    return max(found, key=lambda tensor: tensor.numel())


def _another_training(modality: Modality) -> Edit:
    def inject(copy: Copy) -> None:
        edit_tensors(copy, _declared(copy, modality), lambda t: _largest(t).view(-1)[:1].add_(0.01))

    return inject


def _cut(copy: Copy) -> None:
    file = copy.own(_declared(copy, "audio"))
    content = file.read_bytes()
    write_bytes(file, content[: len(content) // 2])


def _missing(copy: Copy) -> None:
    remove(_folder(copy, "image"))


def _without_config(copy: Copy) -> None:
    config = _folder(copy, "image") / "config.json"
    if not config.is_file():
        raise NotApplicableError("the image codec has no config.json")
    config.unlink()


def _in_the_others_place(copy: Copy) -> None:
    image, audio = _folder(copy, "image"), _folder(copy, "audio")
    remove(audio)
    clone_tree(image, audio)


def _config(modality: Modality, key: str, change: Callable[[Any], Any]) -> Edit:
    def inject(copy: Copy) -> None:
        file = _folder(copy, modality) / "config.json"
        said = read_json(file) if file.is_file() else {}
        if key not in said:
            raise NotApplicableError(f"the {modality} codec's configuration has no {key}")
        write_json(file, said | {key: change(said[key])})

    return inject


def _reweight(copy: Copy, modality: Modality, edit: Callable[[Tensors], object]) -> None:
    """Change a codec's weights, and let every token space declare them: they are the codec of the whole run."""
    file = _declared(copy, modality)
    edit_tensors(copy, file, edit)
    name = "audio_codec" if modality == "audio" else "image_tokenizer"
    sha256 = file_sha256(file)
    space = other_space(copy.bundle.space, lambda raw: raw[name].update(weights_sha256=sha256))
    folders = [copy.ckpt, copy.input("shards"), *([copy.input("parent")] if "parent" in copy.bundle.inputs else [])]
    for folder in folders:
        if (folder / FILE_NAME).is_file():
            write_space(folder, space)
    for shard in shard_files(copy):
        redeclare(copy, shard, space.sha256)
    if (manifest := manifest_file(copy, required=False)) is not None:
        copy.edit_json(manifest, token_space_sha256=space.sha256)
    for examples in ("golden", "dev"):
        if examples in copy.bundle.inputs:
            edit_examples(copy, examples, lambda line: line | {"token_space_sha256": space.sha256})


def _nan(modality: Modality) -> Edit:
    return lambda copy: _reweight(copy, modality, lambda t: _largest(t, "decoder").view(-1)[:1].fill_(float("nan")))


def _mute(modality: Modality) -> Edit:
    """Every weight of the decoder is the same small number: so is whatever is decoded."""

    def silence(tensors: Tensors) -> None:
        found = [tensor for name, tensor in tensors.items() if "decoder" in name and tensor.is_floating_point()]
        if not found:
            raise NotApplicableError("the codec has no weights of a decoder by that name")
        for tensor in found:
            tensor.fill_(1e-3)

    return lambda copy: _reweight(copy, modality, silence)


# ---------------------------------------------------------------------- golden meta


def _meta(modality: Modality, **change: Callable[[Any], Any]) -> Edit:
    """Change the meta of the first golden example of a write task."""

    def inject(copy: Copy) -> None:
        def lie(line: Line) -> None:
            meta = meta_of(line, modality)
            for key, new in change.items():
                if key not in meta:
                    raise NotApplicableError(f"the golden meta has no {key}")
                meta[key] = new(meta[key])

        edit_example(copy, "golden", lie, ("t2a",) if modality == "audio" else ("t2i",), at=0)

    return inject


def _one_long_chunk(copy: Copy) -> None:
    def lie(line: Line) -> None:
        meta = meta_of(line, "audio")
        frames = meta["n_frames"]
        if frames < 2 or "nb_frames" in (meta.get("codec_meta") or {}):
            raise NotApplicableError("the codec reads sounds in chunks, or the sound is too short")
        half = (frames + 1) // 2
        meta["codec_meta"] = {"nb_frames": 2, "frame_len": half, "last_frame_pad_length": 2 * half - frames}

    edit_example(copy, "golden", lie, ("t2a",), at=0)


def _no_lengths(copy: Copy) -> None:
    def forget(line: Line) -> Line:
        return {key: value for key, value in line.items() if key not in ("audio_meta", "image_meta")}

    edit_examples(copy, "golden", forget)


FAULTS = (
    Fault("audio-codec-of-another-training", "The audio codec was trained a little further after tokenising.",
          GATES, "as the token space says", SAME, _another_training("audio"), artifact="codec", subtle=True,
          unmeasured=True),
    Fault("image-codec-of-another-training", "The image codec was trained a little further after tokenising.",
          ("P1.3",), "as the token space says", SAME, _another_training("image"), artifact="codec", subtle=True,
          unmeasured=True),
    Fault("audio-codec-cut-short", "A disk was full while the codec was copied.",
          GATES, "as the token space says", SAME, _cut, artifact="codec", unmeasured=True),
    Fault("image-codec-missing", "The image codec was left behind on another machine.",
          GATES, "expected the vq codec's folder", "correct bundle.json", _missing, artifact="codec",
          unmeasured=True),
    Fault("image-codec-without-config", "Only the weights of the image codec were copied.",
          GATES, "config.json", SAME, _without_config, artifact="codec", unmeasured=True),
    Fault("image-codec-in-the-audio-codecs-place", "Two folders changed places.",
          GATES, "as the token space says", SAME, _in_the_others_place, artifact="codec", unmeasured=True),
    Fault("audio-codec-of-another-rate", "The codec's configuration is that of its 48 kHz sibling.",
          GATES, "wrong form: sample rate", DECLARE, _config("audio", "sample_rate", lambda rate: 2 * rate),
          artifact="codec"),
    Fault("audio-codec-of-another-hop", "The codec's configuration has other strides than its weights.",
          GATES, "config.json beside it", SAME, _config("audio", "ratios", lambda r: [*r[:-1], 2 * r[-1]]),
          artifact="codec", unmeasured=True),
    Fault("image-codec-of-another-shape", "The codec's configuration has another number of codes than its weights.",
          GATES, "config.json", SAME, _config("image", "n_shape_codes", lambda n: n + 1), artifact="codec",
          unmeasured=True),
    Fault("nan-in-the-audio-codec", "The codec's training had diverged; its hash is declared all the same.",
          GATES, "not finite", DECLARE, _nan("audio"), artifact="codec", subtle=True, unmeasured=True),
    Fault("nan-in-the-image-codec", "The image codec's training had diverged; its hash is declared all the same.",
          GATES, "not finite", DECLARE, _nan("image"), artifact="codec", subtle=True, unmeasured=True),
    Fault("mute-audio-codec", "The codec's decoder was saved before it was loaded: it makes the same of all codes.",
          ("P1.3",), "golden_media_alike", "the codec, or the order of its codebooks, is at fault", _mute("audio"),
          artifact="codec", unmeasured=True),
    Fault("blank-image-codec", "The same of the image codec.",
          ("P1.3",), "golden_media_alike", "the codec, or the order of its codebooks, is at fault", _mute("image"),
          artifact="codec", unmeasured=True),
    Fault("one-golden-sound-with-a-frame-too-many", "The meta of one golden sound counts a frame more than it has.",
          GATES, "golden meta: ", META, _meta("audio", n_frames=lambda n: n + 1), artifact="golden", subtle=True),
    Fault("one-golden-sound-with-a-frame-too-few", "The meta of one golden sound counts a frame less than it has.",
          GATES, "golden meta: ", META, _meta("audio", n_frames=lambda n: n - 1), artifact="golden", subtle=True),
    Fault("one-golden-sound-of-another-length", "n_samples of one golden sound is that of its first tenth.",
          GATES, "golden meta: ", META, _meta("audio", n_samples=lambda n: n // 10), artifact="golden", subtle=True,
          source="domain.md row 24"),
    Fault("one-golden-sound-of-more-samples", "n_samples of one golden sound was counted before it was resampled.",
          GATES, "samples", DECLARE, _meta("audio", n_samples=lambda n: 2 * n), artifact="golden", subtle=True,
          source="domain.md row 24"),
    Fault("one-golden-sound-of-another-rate", "One golden sound was tokenised at another rate than the others.",
          GATES, "wrong form: sample rate", DECLARE, _meta("audio", sample_rate=lambda rate: rate // 2),
          artifact="golden", subtle=True, source="domain.md row 24"),
    Fault("one-golden-sound-in-stereo", "The meta of one golden sound says two channels.",
          GATES, "channels, the golden meta says", DECLARE, _meta("audio", channels=lambda n: 3 - n),
          artifact="golden", subtle=True),
    Fault("one-golden-picture-of-another-size", "The meta of one golden picture is that of the file it came from.",
          GATES, "wrong form: picture of", DECLARE, _meta("image", proc_size=lambda _: [17, 19]), artifact="golden",
          subtle=True, source="domain.md row 26"),
    Fault("one-golden-picture-with-an-id-too-many", "The meta of one golden picture counts its end tag.",
          GATES, "golden meta: ", META, _meta("image", n_tokens=lambda n: n + 1), artifact="golden", subtle=True,
          source="domain.md row 21"),
    Fault("one-golden-sound-in-two-chunks", "codec_meta of one golden sound is that of a codec that reads in chunks.",
          GATES, "one long chunk: ", "decode chunk by chunk with overlap-add", _one_long_chunk, artifact="golden",
          subtle=True),
    Fault("golden-set-without-lengths", "The golden set was written without meta.",
          GATES, "a meta without the length of its media", "lengths must come from each example", _no_lengths,
          artifact="golden", unmeasured=True),
)  # fmt: skip
