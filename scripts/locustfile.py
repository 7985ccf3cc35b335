"""Load test of the service with Locust: callers who speak over /stream, and files for /transcribe.

cd scripts && pip install -r requirements.txt && locust -f locustfile.py --host=http://localhost:8000

What is measured and how: docs/load-test.md.
"""

from __future__ import annotations

import sys
from typing import Any

import locust.stats
from locust import events
from locust.env import Environment
from locust.exception import StopTest
from locust.runners import WorkerRunner

from load_test.audio import AudioError
from load_test.options import add_options
from load_test.run import Run
from load_test.statistics import bucket_response_time
from load_test.users import LoadUser, RestUser, StreamUser

__all__ = ["RestUser", "StreamUser"]

locust.stats.bucket_response_time = bucket_response_time
events.init_command_line_parser.add_listener(add_options)


def set_up(environment: Environment, **_: Any) -> None:
    try:
        LoadUser.run_of_test = run = Run(environment)
        if environment.web_ui is None and not isinstance(environment.runner, WorkerRunner):
            run.check_host()
        run.load()
    except (AudioError, ValueError) as error:
        sys.exit(f"load test: {error}")

    def share_users() -> None:
        # where a user class is named on the command line, the other is not there
        if {StreamUser, RestUser} <= set(environment.user_classes):
            StreamUser.weight, RestUser.weight = 100 * (1 - run.options.rest_share), 100 * run.options.rest_share

    def start(**_: Any) -> None:
        environment.process_exit_code = None
        try:
            run.start()
        except (AudioError, ValueError) as error:
            environment.process_exit_code = 1
            raise StopTest(f"load test: {error}") from None
        share_users()

    def show_summary(**_: Any) -> None:
        if run.was_started and not isinstance(environment.runner, WorkerRunner):
            print(f"\n{run.summary()}\n", flush=True)

    events.test_start.add_listener(start)
    events.test_stopping.add_listener(lambda **_: run.finish())
    # With a page there may be several tests before the process quits.
    (events.quit if environment.web_ui is None else events.test_stop).add_listener(show_summary)
    events.quitting.add_listener(lambda **_: run.close())
    events.report_to_master.add_listener(lambda data, **_: run.totals.report_to_master(data))
    events.worker_report.add_listener(lambda data, **_: run.totals.take_worker_report(data))


events.init.add_listener(set_up)
