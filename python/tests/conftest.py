"""Lets tests be coroutines, in one event loop with a limit to their time, and lends them a child behind a bridge."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator

import pytest
from harness import BridgedChild, bridged_child

_TEST_SECONDS = 20

_loop = asyncio.new_event_loop()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(function).parameters}
    _loop.run_until_complete(asyncio.wait_for(function(**arguments), _TEST_SECONDS))
    return True


def pytest_unconfigure() -> None:
    _loop.close()


@pytest.fixture(scope="session")
def lent_child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgedChild]:
    context = bridged_child(tmp_path_factory.mktemp("lent"))
    yield _loop.run_until_complete(context.__aenter__())
    _loop.run_until_complete(context.__aexit__(None, None, None))


@pytest.fixture
def bridged(lent_child: BridgedChild) -> Iterator[BridgedChild]:
    """A child that has seen nothing yet, for tests that leave it alive."""
    _loop.run_until_complete(lent_child.forget())
    yield lent_child
    assert lent_child.errors == []
