"""What the application can be told, as `args` in serve.yaml: checked at once, keys that nobody knows are refused.

null means that the option is left out of the child's command line: then its variable WHISPER_* in the replica's
environment holds, else the command's own default."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_Count = Annotated[int, Field(ge=1)]


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerArguments(_Arguments):
    """Of each TranscriptionServer replica. API keys are not here: they come from the variable WHISPER_API_KEYS of its
    environment."""

    max_sessions: _Count | None = Field(default=None, description="streams that one replica has open at once")
    drain_seconds: int = Field(
        default=15,
        ge=0,
        description="streams of a replica that is to go run on for so long, then get their finals and `going_away`. "
        "Serve has to let the replica live for longer: see RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S",
    )
    allowed_origins: tuple[str, ...] | None = Field(
        default=None, description="origins whose pages may connect; * is any"
    )
    admit_all: bool = Field(
        default=False, description="refuse no stream for load; false leaves it to WHISPER_ADMIT_ALL"
    )
    max_files: _Count | None = Field(default=None, description="files that one replica has in work at once")
    max_upload_mb: _Count | None = Field(default=None, description="MiB of one file")
    max_audio_seconds: _Count | None = Field(default=None, description="seconds of audio of one file")
    max_stream_seconds: _Count | None = Field(default=None, description="seconds of audio of one stream")


class ServiceArguments(_Arguments):
    """Of the application. The model's options are those of each WhisperASR replica."""

    model: str | None = Field(
        default=None, min_length=1, description="model name, hub repository (owner/name) or folder"
    )
    device: Literal["auto", "cpu", "cuda", "webgpu"] | None = Field(
        default=None,
        description="what computes. auto or null: the processor in a replica that has no share of a GPU (num_gpus), "
        "else a GPU that works and is faster. cuda: a GPU, or the replica fails",
    )
    precision: Literal["auto", "int8", "float16", "float32"] | None = Field(
        default=None, description="number format of the weights; int8 is for processors, float16 for GPUs"
    )
    device_memory_mb: int | None = Field(
        default=None,
        ge=256,
        description="MiB of the GPU's memory that one replica uses; null: 80 % of what is free when it starts, and "
        "of its share of the GPU (num_gpus) at most",
    )
    engines: _Count | None = Field(
        default=None,
        description="windows that one replica computes side by side, each by its own copy of the model; "
        "null: as many as the processors that Ray gave it (num_cpus) have room for, at least 1; "
        "on a GPU left to the command",
    )
    threads: _Count = Field(default=1, description="threads of one engine")
    max_batch: int | None = Field(
        default=None, ge=1, le=256, description="most windows that one engine decodes together"
    )
    max_queue: _Count | None = Field(default=None, description="windows that wait in one replica")
    cache: str | None = Field(default=None, description="folder of models and graphs on each node")
    node: str = Field(default="node", min_length=1, description="the Node.js program on each node")
    launcher: str | None = Field(
        default=None,
        description="path of dist/cli/launch.cjs on each node; null: WHISPER_LAUNCHER, else beside this package",
    )
    log_level: Literal["fatal", "error", "warn", "info", "debug", "trace", "silent"] | None = Field(
        default=None, description="of the Node.js processes, which write JSON lines to the replica's standard output"
    )
    start_seconds: _Count = Field(
        default=1800, description="a replica that is not ready by then has failed; a first start downloads the model"
    )
    server: ServerArguments = Field(
        default=ServerArguments(), description="options of the TranscriptionServer replicas"
    )
