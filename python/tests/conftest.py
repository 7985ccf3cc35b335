"""Lets tests be coroutines, each in an event loop of its own, with a limit to its time."""

from __future__ import annotations

import asyncio
import inspect

import pytest

_TEST_SECONDS = 20


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(function).parameters}
    asyncio.run(asyncio.wait_for(function(**arguments), _TEST_SECONDS))
    return True
