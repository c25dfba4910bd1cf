"""Stage 2: pictures, notes and captions to token records, and from them everything under `shards/` and `data/`."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from harness.codecs.encodec import EncodecCodec
from harness.codecs.vq import ImageVQ
from harness.token_space import TokenSpace
from training.demo.data import SPLITS, Media, MediaItem, read_media
from training.examples import without_held_out, write_examples
from training.recipe import Recipe
from training.shards import TokenRecord, write_shards
from training.steps import new_folder, progress
from training.text import read_tokenizer, write_text_eval, write_text_replay
from training.token_space import build_token_space, describe_audio_codec, describe_image_tokenizer

# Media encoded between two ticks of the progress bar; the codecs batch within it.
_CHUNK = 256
SOURCE = {"image": "demo-pictures", "audio": "demo-notes"}


def write_stage2(root: Path, recipe: Recipe, say: Callable[[str], None] = print) -> None:
    """Tokenise the run's media with its codecs and write shards, examples and the text evaluation set."""
    image, audio = ImageVQ.load(root / "codecs/image"), EncodecCodec.load(root / "codecs/audio")
    tokenizer = read_tokenizer(root / "base")
    space = _space(root / "codecs", image, audio, tokenizer.get_vocab_size(), recipe)
    records = [
        *_image_records(root / "media", image, tokenizer, space),
        *_audio_records(root / "media", audio, tokenizer, space),
    ]
    by_split = {split: [record for name, record in records if name == split] for split in SPLITS}
    held_out = [record for name, record in records if name != "train"]
    by_split["train"], dropped = without_held_out(by_split["train"], held_out)
    say(
        f"shards: {len(by_split['train'])} training records, {len(dropped)} dropped because their content is held out; "
        + ", ".join(f"{len(by_split[split])} {split}" for split in SPLITS[1:])
    )
    with new_folder(root / "shards") as folder:
        write_shards(folder, by_split["train"], space, recipe.token_space.rows_per_file)
    with new_folder(root / "data") as folder:
        write_examples(folder, by_split, space)
        write_text_eval(folder / "text_eval.jsonl", tokenizer, recipe)
        write_text_replay(folder / "text_train.jsonl", tokenizer, recipe)


def _space(codecs: Path, image: ImageVQ, audio: EncodecCodec, text_vocab_size: int, recipe: Recipe) -> TokenSpace:
    said_image = describe_image_tokenizer(codecs / "image", image.n_tokens, _size(image), image.codebook_size)
    said_audio = describe_audio_codec(
        codecs / "audio", n_codebooks=audio.n_codebooks, codebook_size=audio.codebook_size,
        frame_rate=audio.frame_rate, sample_rate=audio.sample_rate, channels=audio.channels,
    )  # fmt: skip
    return build_token_space(text_vocab_size, said_image, said_audio, recipe.token_space)


def _size(image: ImageVQ) -> list[int]:
    """Height and width in pixels."""
    size = image.proc_size
    return [size, size] if isinstance(size, int) else list(size)


def _image_records(
    folder: Path, codec: ImageVQ, tokenizer: Tokenizer, space: TokenSpace
) -> list[tuple[str, TokenRecord]]:
    media = read_media(folder, "image")
    codes = _encoded(codec.encode, media, "tokenise pictures")  # (N, n_tokens)
    meta = {"n_tokens": codec.n_tokens, "proc_size": _size(codec)}
    return _records(media, [space.to_ids("image", one) for one in codes], tokenizer, meta)


def _audio_records(
    folder: Path, codec: EncodecCodec, tokenizer: Tokenizer, space: TokenSpace
) -> list[tuple[str, TokenRecord]]:
    media = read_media(folder, "audio")
    codes = _encoded(codec.encode, media, "tokenise notes")  # (N, K, T)
    meta = {
        "n_frames": int(codes.shape[2]),
        "n_codebooks": codec.n_codebooks,
        "sample_rate": codec.sample_rate,
        "channels": codec.channels,
        "n_samples": int(media.array.shape[2]),
        "codec_meta": {"hop_length": codec.hop_length, "frame_rate": codec.frame_rate},
    }
    return _records(media, [space.to_ids("audio", one) for one in codes], tokenizer, meta)


def _encoded(encode: Callable[[np.ndarray], np.ndarray], media: Media, what: str) -> np.ndarray:
    parts = []
    with progress(len(media.items), what, "item") as bar:
        for start in range(0, len(media.items), _CHUNK):
            parts.append(encode(media.array[start : start + _CHUNK]))
            bar.update(len(parts[-1]))
    return np.concatenate(parts)


def _records(
    media: Media, ids: Sequence[np.ndarray], tokenizer: Tokenizer, meta: dict[str, object]
) -> list[tuple[str, TokenRecord]]:
    """Each record with the name of its split."""
    texts = tokenizer.encode_batch([item.caption for item in media.items])
    return [
        (item.split, _record(item, np.array(text.ids, dtype=np.uint32), medium, meta))
        for item, text, medium in zip(media.items, texts, ids, strict=True)
    ]


def _record(item: MediaItem, text_ids: np.ndarray, ids: np.ndarray, meta: dict[str, object]) -> TokenRecord:
    said = {item.modality: meta, "attributes": item.attributes}
    return TokenRecord(item.id, SOURCE[item.modality], item.modality, item.caption, text_ids, ids, said)
