"""summary.md: what a pull request shows of a verdict, whatever the verdict quotes."""

from pathlib import Path

from harness.results import GateResult, Measurement, decide
from reports.summary import summary_text
from tests.hostile import HOSTILE, LONG
from tests.small_verdict import small_verdict

COMMENT_LIMIT = 65_536  # characters of a comment on GitHub


def gate(number: int, text: str) -> GateResult:
    measurement = Measurement(name=text, value=0.5, unit=text, n=9, threshold=0.7, op=">=")
    return GateResult(
        id=f"P0.{number}", name=text, priority="P0", outcome="fail" if number % 2 else "error", claim=text,
        measurements=(measurement,) if number % 2 else (), details={"reason": text}, advice=(text,),
    )  # fmt: skip


def summary_of(text: str) -> str:
    gates = [gate(number, text) for number in range(12)]
    verdict = small_verdict(gates, decide(tuple(gates), smoke=False), next_step=text, path=f"runs/{text}")
    return summary_text(verdict, Path("out/report.html"))


def test_it_names_verdict_gates_three_findings_and_the_report() -> None:
    text = summary_of("plain")

    assert text.startswith("## ✕ REJECT: plain (stage4)\n")
    assert [line[:14] for line in text.splitlines() if line.startswith("- **")] == ["- **P0.1 plain", "- **P0.3 plain",
                                                                                    "- **P0.5 plain"]  # fmt: skip
    assert "\nReport: [report.html](report.html), out/report.html\n" in f"{text}\n"


def test_no_text_leaves_its_cell() -> None:
    text = summary_of(HOSTILE)

    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(table) == 13
    assert {line.replace("\\|", "").count("|") for line in table} == {6}
    assert "<script" not in text
    assert not any(line.startswith(("::", "##[")) for line in text.splitlines())
    assert not any(ord(character) < 32 and character != "\n" for character in text)
    assert "@someone" not in text
    text.encode()


def test_it_fits_into_a_comment_whatever_it_quotes() -> None:
    for text in (LONG, HOSTILE * 1_000, "&" * 10_000, "\u202e" * 10_000):
        assert len(summary_of(text)) < COMMENT_LIMIT
