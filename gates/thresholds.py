"""Thresholds: a stage's defaults are the spec's numbers; a TOML file may change them, and the verdict says so."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import HarnessError


class StageThresholds(BaseModel):
    """Base of a stage's thresholds. A name that is not one is an error, so that a misspelt one cannot go unnoticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


T = TypeVar("T", bound=StageThresholds)


def read_thresholds(kind: type[T], path: Path | None) -> T:
    """The thresholds in force.

    Raises:
        HarnessError: the file is missing, no TOML, or names a threshold that the stage does not have.
    """
    if path is None:
        return kind()
    known = ", ".join(kind.model_fields)
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise HarnessError(path, error.strerror or "no file", "a TOML file", "Check --thresholds.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise HarnessError(path, f"text that is not TOML ({error})", "name = number", "Correct the file.") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise HarnessError(path, f"{first['loc'][0]}: {first['msg']}", f"one of {known}", "Correct the file.") from None


def changed_from_spec(thresholds: StageThresholds) -> dict[str, Any]:
    """Each threshold that is not the spec's: name -> {spec, used}."""
    spec = type(thresholds)().model_dump()
    used = thresholds.model_dump()
    return {name: {"spec": spec[name], "used": used[name]} for name in spec if spec[name] != used[name]}
