"""What both stages ask of the token space's identity: P0.1 and S3.1 are the same rule."""

from itertools import islice

from gates.gate import Accept
from harness.identity import IdentityAudit
from harness.results import Measurement
from harness.stage2_rows import Offence

ADVICE = (
    "Stop: do not train on. Find which of the listed files was made with another token_space.json.",
    "If only created_utc or a local path differs, the layout was rebuilt, not changed: restore the original file "
    "everywhere.",
    "Otherwise tokenise the shards and the golden set again with the checkpoint's token space.",
    "A shard whose bytes are not the manifest's was written or copied badly: restore it, or run Stage 2 again.",
    "Illegal ids and wrong turns come from offsets that are doubled, missing or wrapped: compare Stage 2's ranges with "
    "token_space.json. Never bring such ids back into range by a modulo.",
    "Counts that are not the meta's (a frame cut, another length) come from truncation, or from another codec's number "
    "of codebooks: drop such rows and examples, or tokenise them again; do not truncate within a medium.",
    "Save the checkpoint with the tokenizer that the vocabulary surgery wrote.",
)
MOST_NAMED = 40
# What a row of a shard can be wrong in, and what that is called in the verdict.
ROWS: dict[Offence, str] = {
    "illegal": "rows_with_illegal_ids",
    "out_of_turn": "rows_out_of_turn",
    "part_frame": "rows_with_part_frames",
    "miscounted": "rows_miscounted",
}


def judge_identity(audit: IdentityAudit, accept: Accept) -> None:
    """Every declaration equal, every shard whole, every row and example legal, every special at its id."""
    n = sum(declared.n for declared in audit.declarations)
    strange = sum(declared.n for declared in audit.strangers)
    shards, tokenizer = audit.shards, audit.tokenizer
    equal_pct = 100 * (n - strange) / n if n else None
    accept(Measurement(name="equal_declarations", value=equal_pct, unit="%", n=n), exactly=100)

    broken = Measurement(name="broken_shard_files", value=len(shards.problems), unit="files", n=shards.files)
    accept(broken, exactly=0)
    for offence, name in ROWS.items():
        rows = shards.offending[offence] if shards.rows else None
        accept(Measurement(name=name, value=rows, unit="rows", n=shards.rows), exactly=0)
    accept.report(Measurement(name="shard_ids", value=shards.ids, unit="ids", n=shards.rows))

    wrong = Measurement(name="examples_with_wrong_ids", value=audit.examples.wrong, unit="examples", n=audit.examples.n)
    accept(wrong, exactly=0)

    if tokenizer is not None:
        mistaken = len(tokenizer.wrong) if tokenizer.problem is None else None
        specials = Measurement(name="specials_mistaken", value=mistaken, unit="tokens", n=tokenizer.specials)
        strays = Measurement(name="tokens_on_media_ids", value=len(tokenizer.strays), unit="tokens", n=1)
        if audit.has_tokenizer:
            accept(specials, exactly=0)
            accept(strays, exactly=0)
        else:
            accept.report(specials)
    accept.details["worst"] = [
        {"id": where, "prompt": "", "note": note} for where, note in islice(audit.findings, MOST_NAMED)
    ]
    accept.details["notes"] = list(audit.notes)
