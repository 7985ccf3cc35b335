"""The two kinds of users: callers who speak, and programs that post files."""

from __future__ import annotations

from collections import deque
from typing import ClassVar

import gevent
import requests
from gevent.event import Event
from locust import User, task
from locust.env import Environment
from locust.exception import StopUser

from .audio import SAMPLE_RATE, Clip
from .file_client import post_file
from .plan import StreamPlan, shuffled
from .refusal import wait_seconds
from .run import Run
from .stream_client import Ending, StreamClient
from .stream_record import StreamRecord
from .word_errors import ErrorCount, count_errors

# After a failure, so that a service that is down is not asked a thousand times a second.
_PAUSE_AFTER_FAILURE_SECONDS = 2.0


class LoadUser(User):
    """Can be asked to come to an end in order, whatever it is doing."""

    abstract = True
    # set before the first user is there
    run_of_test: ClassVar[Run]

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.stopping = Event()

    def on_start(self) -> None:
        self.run_of_test.users.add(self)
        self.pause(self.run_of_test.next_user_delay())

    def on_stop(self) -> None:
        self.run_of_test.users.discard(self)

    def stop(self, force: bool = False) -> bool:
        """Locust calls it when there shall be fewer users, or none."""
        self.interrupt()
        return bool(super().stop(force))

    def interrupt(self) -> None:
        self.stopping.set()

    def pause(self, seconds: float) -> None:
        self.stopping.wait(max(0.0, seconds))

    def stop_if_asked(self) -> None:
        if self.stopping.is_set() or self.run_of_test.is_finishing:
            raise StopUser

    def url(self, path: str) -> str:
        return f"{str(self.host).rstrip('/')}{path}"


class StreamUser(LoadUser):
    """Speaks, stream after stream."""

    # until the options are known
    weight = 9.0

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._client: StreamClient | None = None

    def interrupt(self) -> None:
        super().interrupt()
        if self._client is not None:
            self._client.interrupt()

    @task
    def speak(self) -> None:
        self.stop_if_asked()
        run = self.run_of_test
        plan = run.next_plan()
        url = self.url("/stream").replace("http", "ws", 1)
        client = self._client = StreamClient(url, run.options.headers, plan, run.recorder)
        try:
            ending = client.play(run.options.stream_config())
        except gevent.GreenletExit:
            if self.stopping.is_set() and self.environment.stop_timeout:
                run.recorder.stream_broken("not over within --stop-timeout", client.record.transcribed_seconds)
            raise
        finally:
            self._client = None
        if ending.kind == "refused":
            wait = wait_seconds(ending.retry_after)
            run.recorder.stream_refused(wait, ending.reason, run.options.refused_is_failure)
            self.pause(wait)
            return
        self._record(plan, client.record, ending)
        if ending.kind == "broken":
            self.pause(_PAUSE_AFTER_FAILURE_SECONDS)

    def _record(self, plan: StreamPlan, record: StreamRecord, ending: Ending) -> None:
        recorder = self.run_of_test.recorder
        sent_seconds = record.sent_samples / SAMPLE_RATE
        record.ledger.close(sent_seconds)
        recorder.coverage(record.ledger, sent_seconds)
        if ending.end_milliseconds is None:
            recorder.stream_broken(ending.reason, record.transcribed_seconds)
            return
        recorder.stream_done(ending.end_milliseconds, record.transcribed_seconds)
        transcript = record.transcript()
        if transcript is None:
            return
        count = _count_errors(plan.language, transcript.reference, transcript.hypothesis)
        if count is not None:
            recorder.stream_errors(count)


class RestUser(LoadUser):
    """Posts a file, and the next one when the first would have been spoken: as much audio a second as a caller has."""

    weight = 1.0

    def on_start(self) -> None:
        number = self.run_of_test.next_number()
        self._clips: deque[Clip] = deque(shuffled(self.run_of_test.clips, seed=number))
        self._session = requests.Session()
        # not through a proxy that the environment names
        self._session.trust_env = False
        super().on_start()

    @task
    def transcribe(self) -> None:
        self.stop_if_asked()
        run = self.run_of_test
        clip = self._clips[0]
        self._clips.rotate(-1)
        language = run.options.language
        answer = post_file(
            self._session, self.url("/transcribe"), clip.file.read_bytes(), language, run.options.headers
        )
        if answer.kind == "refused":
            wait = wait_seconds(answer.retry_after)
            run.recorder.file_refused(wait, answer.reason, run.options.refused_is_failure)
            self.pause(wait)
            return
        if answer.kind == "broken":
            run.recorder.file_broken(answer.milliseconds, answer.reason)
            self.pause(_PAUSE_AFTER_FAILURE_SECONDS)
            return
        count = _count_errors(clip.language, clip.text, answer.text)
        run.recorder.file_done(answer.milliseconds, answer.duration, bool(answer.text), count)
        self.pause(clip.seconds - answer.milliseconds / 1000)


def _count_errors(language: str, reference: str, hypothesis: str) -> ErrorCount | None:
    """In a thread: it takes milliseconds, in which other users would be late."""
    count: ErrorCount | None = gevent.get_hub().threadpool.apply(count_errors, (language, reference, hypothesis))
    return count
