"""The pytest plugin: case files as test items, baselines, and a ``harness`` fixture for hand-written tests.

Only pytest and the standard library are imported here and while options are read, so that a test run without
case files pays nothing. torch is imported when the first case runs.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness._util.garbage_collector import restore_collection
from harness.pytest_plugin.options import add_options
from harness.pytest_plugin.xdist import group_by_weights, name_groups, pin_worker_to_gpu

if TYPE_CHECKING:
    from harness.pytest_plugin.fixture import Harness
    from harness.pytest_plugin.plugin_session import PluginSession

SUFFIX = ".case.yaml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's options."""
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Give an xdist worker its own GPU, before any conftest can import torch."""
    if early_config.known_args_namespace.gpu:
        pin_worker_to_gpu()


def pytest_configure(config: pytest.Config) -> None:
    """Keep cases that share weights on one worker."""
    group_by_weights(config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker where the run's results go."""
    node.workerinput["harness_results"] = str(_session(node.config).results)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: Any) -> None:
    """Take over what an xdist worker found."""
    _session(node.config).worker_ended(getattr(node, "workeroutput", {}))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse ``--gpu`` where torch sees no GPU, before anything is rendered."""
    if not session.config.option.gpu or session.config.option.collectonly:
        return
    from harness.errors import DeviceError
    from harness.schema.device import choose_device

    try:
        choose_device("cuda")
    except DeviceError as error:
        raise pytest.UsageError(f"--gpu: {error.found}; see harness doctor, or run without --gpu") from error


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let the garbage collector run again where a case file paused it."""
    with restore_collection():
        return (yield)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect ``*.case.yaml``."""
    if not file_path.name.endswith(SUFFIX):
        return None
    from harness.pytest_plugin.items import CaseFile

    return CaseFile.from_parent(parent, path=file_path)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put case items in the order in which weights change rarely; deselect those that need a GPU.

    First of all plugins, because xdist reads the groups that are named here.
    """
    from harness.pytest_plugin.items import CaseItem

    if any(isinstance(item, CaseItem) for item in items):
        _session(config).arrange(items)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which cases are left after every plugin's deselection; name their groups before xdist looks."""
    if found := _started(session.config):
        found.selected(session.items)
        if getattr(session.config.option, "loadgroup", False):
            name_groups(session.items)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Say how many cases there are, and how many were deselected and why."""
    session = _started(config)
    return session.header() if session else []


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Note what comes next: it can render while this case is scored."""
    if found := _started(item.config):
        found.nextitem = nextitem


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Close the run, merge the workers' parts and build the report."""
    if found := _started(session.config):
        found.finish(session)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the verdicts, the baselines written or orphaned, and where the report is."""
    if session := _started(config):
        session.summarise(terminalreporter)


@pytest.fixture(name="harness")
def harness_fixture(request: pytest.FixtureRequest) -> Harness:
    """Check cases from a hand-written test: ``harness.check("cases/my_lora/0.case.yaml")``."""
    from harness.pytest_plugin.fixture import Harness, refusal

    try:
        return Harness(_session(request.config), request.node)
    except pytest.UsageError as error:
        raise refusal(error) from None


_KEY: pytest.StashKey[PluginSession] = pytest.StashKey()


def _session(config: pytest.Config) -> PluginSession:
    """Return the one harness session of this process; made on first use."""
    from harness.pytest_plugin.plugin_session import PluginSession

    if _KEY not in config.stash:
        config.stash[_KEY] = PluginSession(config)
    return config.stash[_KEY]


def _started(config: pytest.Config) -> PluginSession | None:
    return config.stash.get(_KEY, None)
