"""The options, by Locust's own parser."""

from __future__ import annotations

from pathlib import Path

import pytest
from locust.argument_parser import LocustArgumentParser, get_empty_argument_parser, setup_parser_arguments

from load_test.options import LoadOptions, add_options, read_options


def parse(*args: str) -> LoadOptions:
    return read_options(parser().parse_args(list(args)))


def parser() -> LocustArgumentParser:
    made = get_empty_argument_parser(default_config_files=[])
    setup_parser_arguments(made)
    add_options(made)
    return made


def test_defaults_make_calls_in_english() -> None:
    options = parse()
    assert options.stream_config() == {
        "language": "en",
        "chunk_duration": 5.0,
        "overlap": 0.5,
        "interim_results": True,
        "word_timestamps": True,
    }
    assert (options.audio_folder, options.headers, options.refused_is_failure) == (None, {}, False)


def test_each_option_is_taken() -> None:
    options = parse(
        *("--language=AUTO", "--chunk-duration=2", "--overlap=1", "--interim-results=off", "--rest-share=0.5"),
        *("--stream-seconds=90", "--api-key=abc", "--audio-folder=speech", "--refused-is-failure=on"),
    )
    assert options == LoadOptions(None, 2, 1, False, 0.5, 90, "abc", Path("speech"), True)
    assert options.headers == {"Authorization": "Bearer abc"}
    assert options.stream_config()["language"] is None


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--chunk-duration=26"], "--chunk-duration: expected 1 to 25, got 26"),
        (["--overlap=3"], r"--overlap: expected 0 to 2\.5, got 3"),
        (["--rest-share=2"], "--rest-share"),
        (["--stream-seconds=0"], "--stream-seconds"),
    ],
)
def test_values_out_of_range_are_named(args: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(*args)


def test_streams_get_time_to_end_unless_the_command_line_says_otherwise() -> None:
    assert parser().parse_args([]).stop_timeout == 60
    assert parser().parse_args(["--stop-timeout", "5"]).stop_timeout == 5


def test_all_options_are_on_locusts_page() -> None:
    shown = parser().args_included_in_web_ui
    assert {"language", "chunk_duration", "rest_share", "audio_folder"} <= set(shown)
    assert "api_key" in parser().secret_args_included_in_web_ui
