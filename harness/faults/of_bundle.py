"""Faults of a checkpoint's files: pickles, code, damaged or missing files and tensors (P0.0, S3.0)."""

import pickle
import shutil

from harness.bundle import ADAPTER_CONFIG, ROWS_FILE, ROWS_JSON
from harness.faults.copies import Copy, NotApplicableError
from harness.faults.fault import Fault
from harness.faults.weights import (
    adapter_file,
    as_whole,
    edit_rows,
    edit_tensors,
    edit_values,
    frozen_tensor,
    head_rows_of,
    new_rows_of,
)
from harness.files import read_json, write_bytes, write_json
from harness.new_rows import new_rows
from harness.pickles import move_away
from harness.tensors import find_pickles

GATES = ("S3.0", "P0.0")


def _pickle_beside(copy: Copy) -> None:
    write_bytes(copy.ckpt / "training_args.bin", pickle.dumps({"learning_rate": 1e-4}))


def _move_pickles(copy: Copy) -> None:
    """As `gates init` does."""
    for path in find_pickles(copy.ckpt):
        move_away(path, copy.root / "pickles")


def _rows_only_as_pickle(copy: Copy) -> None:
    import torch
    from safetensors.torch import load_file

    rows = _rows_json(copy)
    tensors = load_file(copy.ckpt / ROWS_FILE)
    torch.save(rows | tensors, copy.ckpt / "trainable_rows.pt")
    (copy.ckpt / ROWS_FILE).unlink()


def _convert(copy: Copy) -> None:
    """As `gates init` does."""
    from harness.convert import convert_folder
    from harness.token_space import read_token_space

    convert_folder(copy.ckpt, read_token_space(copy.ckpt))
    _move_pickles(copy)


def _rows_json(copy: Copy) -> dict[str, object]:
    if copy.bundle.form != "rows":
        raise NotApplicableError("the checkpoint is no rows over a base")
    said: dict[str, object] = read_json(copy.ckpt / ROWS_JSON)
    return said


def _shift_rows(copy: Copy) -> None:
    said = copy.bundle.space
    _rows_json(copy)
    copy.edit_json(copy.ckpt / ROWS_JSON, row_start=said.text_vocab_size + 267, row_end=said.vocab_size_total + 267)


def _as_the_token_space_says(copy: Copy) -> None:
    space = copy.bundle.space
    copy.edit_json(copy.ckpt / ROWS_JSON, row_start=space.text_vocab_size, row_end=space.vocab_size_total)


def _drop_a_row(copy: Copy) -> None:
    _rows_json(copy)
    edit_tensors(copy, copy.ckpt / ROWS_FILE, lambda t: t.update(embeddings=t["embeddings"][:-1]))


def _lose_head_rows(copy: Copy) -> None:
    _rows_json(copy)
    new_rows_of(copy, "lm_head")
    edit_tensors(copy, copy.ckpt / ROWS_FILE, lambda t: t.pop("lm_head"))


def _nan_in_a_row_never_sampled(copy: Copy) -> None:
    # The last special is spare in every layout that has one, and is no input and no target.
    rows, space = head_rows_of(copy), copy.bundle.space
    spare = max(space.raw["ranges"]["SPECIAL"]["end"] - space.text_vocab_size, 0)
    edit_rows(copy, rows, lambda values: values[spare, -1:].fill_(float("nan")))


def _infinity_in_the_base(copy: Copy) -> None:
    edit_values(copy, frozen_tensor(copy, "proj"), lambda values: values.view(-1)[-1:].fill_(float("inf")))


def _nan_in_the_adapter(copy: Copy) -> None:
    def edit(tensors):  # type: ignore[no-untyped-def]
        next(iter(tensors.values())).view(-1)[:1] = float("nan")

    edit_tensors(copy, adapter_file(copy), edit)


def _truncate(copy: Copy) -> None:
    file = frozen_tensor(copy).file
    write_bytes(file, file.read_bytes()[:-1])


def _header_beyond_the_file(copy: Copy) -> None:
    file = head_rows_of(copy).file
    write_bytes(file, b"\xff" * 7 + b"\x7f" + file.read_bytes()[8:])


def _lose_a_tensor(copy: Copy) -> None:
    tensor = frozen_tensor(copy, "proj")
    edit_tensors(copy, tensor.file, lambda t: t.pop(tensor.name))


def _stray_tensor(copy: Copy) -> None:
    tensor = frozen_tensor(copy, "norm")
    edit_tensors(copy, tensor.file, lambda t: t.update({"model.rotary_emb.inv_freq_old": t[tensor.name]}))


def _drop_the_stray(copy: Copy) -> None:
    tensor = frozen_tensor(copy, "inv_freq_old")
    edit_tensors(copy, tensor.file, lambda t: t.pop(tensor.name))


def _empty_tensor(copy: Copy) -> None:
    tensor = frozen_tensor(copy, "proj")
    edit_tensors(copy, tensor.file, lambda t: t.update({tensor.name: t[tensor.name][:0]}))


def _transpose(copy: Copy) -> None:
    tensor = frozen_tensor(copy, "down_proj")
    edit_tensors(copy, tensor.file, lambda t: t.update({tensor.name: t[tensor.name].T}))


def _integers(copy: Copy) -> None:
    tensor = frozen_tensor(copy, "proj")
    edit_tensors(copy, tensor.file, lambda t: t.update({tensor.name: t[tensor.name].int()}))


def _whole_without_head(copy: Copy) -> None:
    rows = new_rows_of(copy, "lm_head")
    as_whole(copy)
    rows = new_rows_of(copy, "lm_head")
    edit_tensors(copy, rows.file, lambda t: t.pop(rows.name))


def _tied_by_config_alone(copy: Copy) -> None:
    new_rows_of(copy, "lm_head")
    as_whole(copy)
    copy.edit_json(copy.ckpt / "config.json", tie_word_embeddings=True)


def _untie(copy: Copy) -> None:
    copy.edit_json(copy.ckpt / "config.json", tie_word_embeddings=False)


def _short_tables(copy: Copy) -> None:
    as_whole(copy)
    total = copy.bundle.space.vocab_size_total
    tables = [span.tensor for span in new_rows(copy.ckpt, copy.bundle.space).values()]
    for tensor in tables:
        edit_tensors(copy, tensor.file, lambda t, name=tensor.name: t.update({name: t[name][: total - 1]}))  # type: ignore[misc]
    copy.edit_json(copy.ckpt / "config.json", vocab_size=total - 1)


def _asks_for_code(copy: Copy) -> None:
    folder = copy.ckpt if copy.bundle.form == "whole" else copy.input("base")
    copy.edit_json(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_mm.MultimodalQwen"})


def _drop_auto_map(copy: Copy) -> None:
    folder = copy.ckpt if copy.bundle.form == "whole" else copy.input("base")
    copy.edit_json(folder / "config.json", auto_map=None)


def _left_over_weights(copy: Copy) -> None:
    folder = frozen_tensor(copy).file.parent
    shutil.copyfile(frozen_tensor(copy).file, folder / "model-old.safetensors")


def _remove_left_over(copy: Copy) -> None:
    (frozen_tensor(copy).file.parent / "model-old.safetensors").unlink()


def _other_rank(copy: Copy) -> None:
    config = adapter_file(copy).parent / ADAPTER_CONFIG
    copy.edit_json(config, r=read_json(config)["r"] + 1)


def _rank_of_the_tensors(copy: Copy) -> None:
    from harness.lora import read_adapter

    (rank,) = {pair.a.shape[0] for pair in read_adapter(copy.input("lora")).pairs}
    copy.edit_json(copy.input("lora") / ADAPTER_CONFIG, r=rank)


def _lose_b(copy: Copy) -> None:
    def edit(tensors):  # type: ignore[no-untyped-def]
        del tensors[next(name for name in sorted(tensors) if "lora_B" in name)]

    edit_tensors(copy, adapter_file(copy), edit)


def _adapter_of_a_deeper_model(copy: Copy) -> None:
    def edit(tensors):  # type: ignore[no-untyped-def]
        name = next(name for name in sorted(tensors) if "lora_A" in name and ".layers.0." in name)
        tensors[name.replace(".layers.0.", ".layers.999.")] = tensors[name]

    edit_tensors(copy, adapter_file(copy), edit)


def _fewer_targets(copy: Copy) -> None:
    config = adapter_file(copy).parent / ADAPTER_CONFIG
    targets = sorted(read_json(config)["target_modules"])
    if len(targets) < 2:
        raise NotApplicableError("the adapter has one target alone")
    copy.edit_json(config, target_modules=targets[1:])


def _broken_pointer(copy: Copy) -> None:
    write_json(copy.ckpt / "bundle.json", read_json(copy.ckpt / "bundle.json") | {"golden_set": "../golden"})


FAULTS = (
    Fault("pickle-beside-the-weights", "A trainer left its arguments as a pickle, which runs code when it is opened.",
          GATES, "a pickle, which can run code", "`gates init", _pickle_beside, "weights", subtle=True,
          fix=_move_pickles),
    Fault("rows-only-as-a-pickle", "The field's trainer saves the new rows as trainable_rows.pt.",
          GATES, "trainable_rows.pt", "`gates init", _rows_only_as_pickle, "weights", fix=_convert),
    Fault("config-asks-for-remote-code", "A model with code of its own, to be fetched and run by its loader.",
          GATES, "auto_map", "Remove auto_map", _asks_for_code, "config", fix=_drop_auto_map),
    Fault("bundle-json-with-a-misspelt-key", "Somebody wrote golden_set, and the golden set is not used.",
          GATES, "golden_set", "Correct that key", _broken_pointer, "bundle.json", subtle=True,
          fix=lambda copy: copy.edit_json(copy.ckpt / "bundle.json", golden_set=None)),
    Fault("weights-cut-by-a-byte", "A copy that ended when the disk was full.",
          GATES, "cut short", "copy the checkpoint again", _truncate, "weights", subtle=True),
    Fault("header-beyond-the-file", "A damaged or hostile file, whose header claims to be larger than the file.",
          GATES, "a header inside the file", "copy the checkpoint again", _header_beyond_the_file, "weights"),
    Fault("nan-in-a-row-never-sampled", "One NaN in the row of a spare special: no loss ever shows it.",
          GATES, "NaN or infinite", "last checkpoint without them", _nan_in_a_row_never_sampled, "weights",
          subtle=True, source="domain.md row 10"),
    Fault("infinity-in-a-frozen-tensor", "A float16 overflow on the way of the frozen weights.",
          GATES, "NaN or infinite", "last checkpoint without them", _infinity_in_the_base, "base", subtle=True,
          source="domain.md row 10"),
    Fault("nan-in-the-adapter", "A step whose gradient was none, taken all the same.",
          ("P0.0",), "NaN or infinite", "lower the learning rate or clip", _nan_in_the_adapter, "adapter", subtle=True,
          source="domain.md row 10"),
    Fault("rows-of-another-table-size", "New ids begin 267 rows later in one file than in the other.",
          GATES, "another token space", "use the token space that the checkpoint was trained with", _shift_rows,
          "weights", source="domain.md row 2", fix=_as_the_token_space_says),
    Fault("one-row-fewer-than-declared", "The table was cut by a row when it was saved.",
          GATES, "as wide as the base's", "save both vocabulary tables", _drop_a_row, "weights", subtle=True,
          source="domain.md row 1"),
    Fault("head-rows-not-saved", "Only the embedding's rows were saved; the trained head is lost.",
          GATES, "the new rows of the head", "save both vocabulary tables", _lose_head_rows, "weights",
          source="domain.md rows 8, 17, 18"),
    Fault("whole-model-without-its-head", "An untied config, and no head among the tensors: a loader draws one.",
          GATES, "lm_head", "a loader would", _whole_without_head, "weights", source="domain.md row 8"),
    Fault("tied-by-config-alone", "The flag stayed tied while the head was trained apart; a loader drops the head.",
          GATES, "config.json ties the two", "tie_word_embeddings to false", _tied_by_config_alone, "config",
          source="domain.md row 7", fix=_untie),
    Fault("tables-one-row-short", "Resized to the tokenizer's length, which shrinks a padded table.",
          GATES, "as the token space says", "save both vocabulary tables", _short_tables, "weights", subtle=True,
          source="domain.md row 1"),
    Fault("frozen-tensor-missing", "A shard of the model was lost, and the index written again.",
          GATES, "found nothing", "a loader would put random values there", _lose_a_tensor, "base"),
    Fault("tensor-that-nobody-asks-for", "A buffer of an older version was saved with the weights.",
          GATES, "inv_freq_old", "a loader would drop it", _stray_tensor, "base", subtle=True, fix=_drop_the_stray),
    Fault("empty-tensor", "A partitioned parameter was saved by a process that held none of it.",
          GATES, "at least one value", "save again from the training run", _empty_tensor, "base"),
    Fault("transposed-weight", "A converter stored one weight as (in, out).",
          GATES, "as config.json says", "Restore the config that the weights were saved with", _transpose, "base"),
    Fault("weights-as-integers", "A quantised export in the place of the weights.",
          GATES, "a floating-point type", "Save the weights in a floating-point type", _integers, "base"),
    Fault("left-over-weights", "An older file stayed beside the new ones, and some loaders read it instead.",
          GATES, "no part of the model", "Remove what is left over", _left_over_weights, "base", subtle=True,
          fix=_remove_left_over),
    Fault("adapter-rank-not-as-configured", "The adapter's config is of another run.",
          ("P0.0",), "rank, targets and tables", "correct r", _other_rank, "adapter", subtle=True,
          source="domain.md row 19", fix=_rank_of_the_tensors),
    Fault("adapter-without-one-b", "One half of one adapted module was not saved: PEFT goes on with zeros.",
          ("P0.0",), "found nothing", "PEFT would go on with an untrained module", _lose_b, "adapter", subtle=True),
    Fault("adapter-of-a-deeper-model", "A key for a layer that the base does not have is dropped without a word.",
          ("P0.0",), "layers.999", "Use the adapter's own base", _adapter_of_a_deeper_model, "adapter"),
    Fault("adapter-targets-not-as-configured", "The config names fewer targets than were trained.",
          ("P0.0",), "a key that lands on a module", "correct target_modules", _fewer_targets, "adapter",
          source="domain.md row 19"),
)  # fmt: skip
