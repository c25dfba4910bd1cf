"""Ways in which a run of gates goes wrong: plugins that do one thing to one gate of a run that is green otherwise."""

INCOMPLETE = (10, "INCOMPLETE")  # exit code and verdict; "none" where no verdict is left

# Name of the case -> the plugin's source, options beside it, and what the run has to end with.
SABOTAGE = {
    "a gate is skipped": (
        """
def pytest_runtest_setup(item):
    if "s36" in item.nodeid:
        pytest.skip("not today")
""",
        [],
        INCOMPLETE,
    ),
    "a P0 gate is skipped in its call": (
        """
@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if "s31" in pyfuncitem.nodeid:
        pytest.skip("not today")
""",
        [],
        INCOMPLETE,
    ),
    "a gate that passes is expected to fail": (
        """
def pytest_collection_modifyitems(items):
    for item in items:
        if "s36" in item.nodeid:
            item.add_marker(pytest.mark.xfail)
""",
        [],
        INCOMPLETE,
    ),
    "a gate expects to fail": (
        """
@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if "s36" in pyfuncitem.nodeid:
        pytest.xfail("known")
""",
        [],
        INCOMPLETE,
    ),
    "a gate's test is not called": (
        """
@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    return True if "s31" in pyfuncitem.nodeid else None
""",
        [],
        INCOMPLETE,
    ),
    "a gate judges nothing and asks for no accept": (
        """
def pytest_collection_modifyitems(items):
    for item in items:
        if "s31" in item.nodeid:
            item.obj, item._fixtureinfo = (lambda: None), dataclasses.replace(item._fixtureinfo, argnames=())
            item.fixturenames[:] = []
""",
        [],
        INCOMPLETE,
    ),
    "a fixture raises": (
        """
def pytest_fixture_setup(fixturedef):
    if fixturedef.argname == "checkpoint":
        raise OSError("gone")
""",
        [],
        INCOMPLETE,
    ),
    "a teardown raises": (
        """
def pytest_runtest_teardown(item):
    if "s31" in item.nodeid:
        raise OSError("gone")
""",
        [],
        INCOMPLETE,
    ),
    "-x": (
        """
def pytest_runtest_setup(item):
    if "s32" in item.nodeid:
        raise OSError("gone")
""",
        ["-x"],
        INCOMPLETE,
    ),
    "--maxfail": (
        """
def pytest_runtest_setup(item):
    if "s32" in item.nodeid:
        raise OSError("gone")
""",
        ["--maxfail=1"],
        INCOMPLETE,
    ),
    "a gate cannot be imported": (
        """
class Finder:
    def find_spec(name, path=None, target=None):
        if name == "gates.stage3.test_s36_dynamics":
            raise ImportError("no module named scipy")

sys.meta_path.insert(0, Finder)
sys.modules.pop("gates.stage3.test_s36_dynamics", None)
""",
        [],
        (4, "none"),
    ),
    "a gate ends the process while it is imported": (
        """
class Finder:
    def find_spec(name, path=None, target=None):
        if name == "gates.stage3.test_s36_dynamics":
            sys.exit(0)

sys.meta_path.insert(0, Finder)
sys.modules.pop("gates.stage3.test_s36_dynamics", None)
""",
        [],
        (3, "none"),
    ),
    "a gate cannot be collected": (
        """
def pytest_pycollect_makemodule(module_path):
    if "s36" in module_path.name:
        raise ImportError("no module named scipy")
""",
        [],
        (2, "INCOMPLETE"),
    ),
    "--continue-on-collection-errors": (
        """
def pytest_pycollect_makemodule(module_path):
    if "s36" in module_path.name:
        raise ImportError("no module named scipy")
""",
        ["--continue-on-collection-errors"],
        INCOMPLETE,
    ),
    "pytest.exit with code 0": (
        """
def pytest_runtest_setup(item):
    if "s36" in item.nodeid:
        pytest.exit("that will do", returncode=0)
""",
        [],
        INCOMPLETE,
    ),
    "pytest.exit with code 0 at the end": (
        """
def pytest_sessionfinish():
    pytest.exit("that will do", returncode=0)
""",
        [],
        INCOMPLETE,
    ),
    "sys.exit(0) in a gate": (
        """
@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if "s31" in pyfuncitem.nodeid:
        sys.exit(0)
""",
        [],
        INCOMPLETE,
    ),
    "an internal error": (
        """
def pytest_runtest_protocol(item):
    if "s36" in item.nodeid:
        raise OSError("gone")
""",
        [],
        (3, "INCOMPLETE"),
    ),
    "an error at the end": (
        """
def pytest_sessionfinish():
    raise OSError("gone")
""",
        [],
        INCOMPLETE,
    ),
    "another exit code at the end": (
        """
def pytest_sessionfinish(session):
    session.exitstatus = 5
""",
        [],
        INCOMPLETE,
    ),
    "a JUnit file that cannot be written": ("", ["--junitxml=/proc/no/such.xml"], INCOMPLETE),
    "--max-warnings": (
        """
import warnings

def pytest_runtest_setup(item):
    warnings.warn("many")
""",
        ["--max-warnings=0", "-W", "always"],
        (6, "INCOMPLETE"),
    ),
    "no report can be rendered": (
        """
import reports.render

def _page(out, verdict):
    raise ZeroDivisionError("a bug")

@pytest.fixture(autouse=True)
def _broken(monkeypatch):
    pass

def pytest_sessionstart(session):
    _broken.patch = pytest.MonkeyPatch()
    _broken.patch.setattr(reports.render, "_page", _page)

def pytest_unconfigure():
    _broken.patch.undo()
""",
        [],
        INCOMPLETE,
    ),
    "a misspelt threshold": ("", ["--thresholds=/no/such.toml"], (4, "none")),
}
