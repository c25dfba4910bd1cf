"""`gates power` and docs/power.md: what the page says is what the code gives."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gates.cli import app
from gates.power.asked import Asked
from gates.power.page import GATES, build_page, markdown
from gates.power.tables import pct
from gates.power.trial import Runs
from gates.stage3.thresholds import Stage3Thresholds
from gates.stage4.thresholds import Stage4Thresholds

DOC = Path(__file__).parents[1] / "docs" / "power.md"
SIMULATED = re.compile(r" \((\d+\.\d) ± (\d+\.\d)\)")
CELL = re.compile(r"\| (?:[<>] )?(\d+(?:\.\d)?)" + SIMULATED.pattern + r"(?= \|)")
AFTER_THE_TABLES = "## How it was computed and simulated"


@pytest.fixture(scope="module")
def doc() -> str:
    return DOC.read_text(encoding="utf-8")


def run(*args: str) -> str:
    result = CliRunner().invoke(app, ["power", *args])
    assert result.exit_code == 0, result.output
    return result.stdout


def row(page: str, title: str, about: str) -> list[str]:
    """The cells of the row that begins so, of the table whose title begins so."""
    table = page[page.index(f"**{title}") :].split("\n\n")[1]
    (found,) = [line for line in table.splitlines() if line.startswith(f"| {about} |")]
    return [cell.strip() for cell in found.strip("|").split("|")]


# ---------------------------------------------------------------- the page in docs/


def test_what_the_page_says_was_computed_is_what_is_computed(doc: str) -> None:
    fresh = markdown(build_page(GATES, Stage3Thresholds(), Stage4Thresholds(), Asked(), Runs(0)), {}, "gates power")

    def bare(page: str) -> list[str]:
        lines = SIMULATED.sub("", page.split(AFTER_THE_TABLES)[0]).splitlines()
        return [line for line in lines if not line.startswith("Written by")]

    assert bare(doc) == bare(fresh), "write it again by the command at its top"


def test_what_the_page_says_was_simulated_agrees_with_what_was_computed(doc: str) -> None:
    n_cells = 0
    for section in doc.split("\n## "):
        for table in section.split("\n**")[1:]:
            # Here alone the gap, of which nothing is computed, rejects what the win rates leave open.
            more = section.startswith("P0.4") and table.startswith("Chance to be rejected, %: w is the win rate under")
            for computed, simulated, error in (map(float, found) for found in CELL.findall(table)):
                n_cells += 1
                # Of hundreds one lies beyond three standard errors; none should beyond 4.5. 0.1 is of the rounding.
                allowed = 4.5 * error + 0.1
                assert computed - simulated <= allowed, (table, computed, simulated, error)
                assert more or simulated - computed <= allowed, (table, computed, simulated, error)
    assert n_cells > 400


def test_the_page_says_how_it_was_written(doc: str) -> None:
    (command,) = re.findall(r"Written by `(gates power .*)`", doc)

    (n,) = re.findall(r"--simulations (\d+)", command)
    assert f"were simulated: {int(n):,} checkpoints a cell" in doc.replace("\n", " ")
    assert "--out docs/power.md" in command


# ---------------------------------------------------------------- the command


def test_the_users_own_thresholds_are_in_force(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("min_win_rate_shuffled_prompt = 0.62\n")
    options = ("--gate", "P0.4", "--examples", "256", "--win-rate", "0.65", "--win-rate", "0.7")

    spec, mine = run(*options), run(*options, "--thresholds", str(file))

    title = "Chance to pass, %: w is the win rate against shuffled prompts, in both"
    assert row(spec, title, "0.65")[1:3] == ["bad", "0.2"]
    assert row(mine, title, "0.65")[1] == "good"
    assert float(row(mine, title, "0.65")[2]) > 60
    assert "min_win_rate_shuffled_prompt 0.62 (spec: 0.7)" in mine.replace("\n", " ")
    assert "P0.4 asks for 0.62" in mine


def test_thresholds_of_one_stage_leave_the_other_out(tmp_path: Path) -> None:
    file = tmp_path / "stage3.toml"
    file.write_text("max_text_loss_gap_nats = 0.001\n")

    result = CliRunner().invoke(app, ["power", "--gate", "S3.5", "--gate", "P1.4", "--thresholds", str(file)])

    assert result.exit_code == 0
    assert "## S3.5 text" in result.stdout
    assert "P1.4" not in result.stdout
    assert "the gates of the other are left out" in result.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--gate", "P0.5"), "--gate P0.5: no statistical gate; expected one of P0.4"),
        (("--certainty", "1"), "--certainty 1: expected a share between 0 and 1"),
        (("--win-rate", "nan"), "--win-rate"),
        (("--text-spread", "0"), "--text-spread 0: expected nats per token above 0"),
        (("--thresholds", "none.toml"), "none.toml"),
        (("--examples", "0"), "--examples"),
        (("--out", "no/such/folder/p.md", "--gate", "P0.3"), "--out no/such/folder/p.md: No such file"),
    ],
)
def test_what_cannot_be_asked_is_refused(args: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(app, ["power", *args])

    assert result.exit_code == 4
    assert says in result.stderr


def test_a_misspelt_threshold_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("min_win_rate_shuffeld_prompt = 0.6\n")

    result = CliRunner().invoke(app, ["power", "--thresholds", str(file)])

    assert result.exit_code == 4
    assert "min_win_rate_shuffeld_prompt" in result.stderr


def test_json_has_the_same_numbers_and_the_simulations() -> None:
    found = json.loads(run("--gate", "P1.3", "--simulations", "60", "--seed", "3", "--examples", "64", "--json"))

    assert (found["format"], found["simulations"], found["seed"]) == ("gate-power/1", 60, 3)
    (section,) = found["sections"]
    (at_threshold,) = [each for each in section["tables"][0]["rows"] if each["about"][1] == "at the threshold"]
    (cell,) = at_threshold["cells"]
    assert cell["computed"] == pytest.approx(0.539, abs=1e-3)
    assert cell["simulated"]["n"] == 60
    assert abs(cell["simulated"]["share"] - cell["computed"]) < 4 * cell["simulated"]["standard_error"]


def test_the_page_is_written_where_it_is_wanted(tmp_path: Path) -> None:
    printed = run("--gate", "P1.4", "--certainty", "0.9", "--text-spread", "0.05")

    assert run("--gate", "P1.4", "--certainty", "0.9", "--text-spread", "0.05", "--out", str(tmp_path / "p.md")) == ""
    assert (tmp_path / "p.md").read_text() == printed
    assert row(printed, "Texts that a wanted certainty needs: spread 0.05", "0")[1:] == ["good", "69", "never"]
    assert "Nothing was simulated" in printed


@pytest.mark.parametrize(
    ("chance", "shown"),
    [(0.0, "0"), (-1e-17, "0"), (1e-6, "< 0.1"), (0.0005, "0.1"), (0.5, "50.0"), (0.9996, "> 99.9"), (1.0, "100"),
     (1 - 1e-15, "100")],
)  # fmt: skip
def test_near_to_never_is_not_never(chance: float, shown: str) -> None:
    assert pct(chance) == shown
