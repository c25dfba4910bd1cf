"""Text that nobody wishes to find in a checkpoint: it wants out of every format that it is written to."""

HOSTILE = (
    "<script>alert(1)</script> \"quoted\" 'single' ]]> &amp; | pipe ` # * _ [link](x) @someone\n"
    "::error title=forged::forged\r::stop-commands::forged\n##[add-mask]forged %0A::error::forged\n"
    "\x1b[2J\x1b]0;owned\x07 \x00 \x08 \x7f \x9b31m \u202egnirts \u2028 \ufeff \ufffe \uffff half \ud800 done"
)
# What a terminal would act on, and a pattern that finds such characters. Without half a surrogate: at one, pytest's own
# writer escapes the whole line.
ACTED_ON = "\x1b[2J\x1b]0;owned\x07 \x9b31m \u202egnirts"
CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800]"
LONG = "x" * 1_000_000
# A plugin of an inner run: one gate meets an error that quotes all that, another fails in those words.
PLUGIN = f"""
import pytest
from gates.gate import GateFailedError

HOSTILE = {HOSTILE!r}

@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if "p01" in pyfuncitem.nodeid:
        raise ValueError(HOSTILE + "x" * 1_000_000)
    if "p00" in pyfuncitem.nodeid:
        raise GateFailedError(HOSTILE + "y" * 1_000_000)
    if "p06" in pyfuncitem.nodeid:
        pytest.skip(HOSTILE)
"""
