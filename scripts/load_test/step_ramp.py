"""Users in steps, to find where latency begins to rise.

locust -f locustfile.py,load_test/step_ramp.py --step-users 4 --step-seconds 60 --users 32
"""

from __future__ import annotations

from locust import LoadTestShape, events
from locust.argument_parser import LocustArgumentParser


def add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--step-users", type=int, default=4, metavar="<int>", help="Users that each step adds")
    parser.add_argument("--step-seconds", type=float, default=60.0, metavar="<seconds>", help="Length of a step")


events.init_command_line_parser.add_listener(add_options)


def users_at(seconds: float, step_users: int, step_seconds: float, most: int) -> int | None:
    """None when the step with the most users is over."""
    step = int(seconds // step_seconds)
    full_steps = -(-most // step_users)
    return None if step >= full_steps else min(most, (step + 1) * step_users)


class StepRamp(LoadTestShape):
    """Up to --users, which come at --spawn-rate; ends after the last step, or at --run-time."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        assert self.runner is not None
        options = self.runner.environment.parsed_options
        assert options is not None
        seconds = self.get_run_time()  # type: ignore[no-untyped-call]
        if options.run_time and seconds >= options.run_time:
            return None
        users = users_at(seconds, options.step_users, options.step_seconds, options.num_users or options.step_users)
        return None if users is None else (users, options.spawn_rate or options.step_users)
