# A worker with CUDA and torch. Build it with `make build`, which names version and commit; linux/amd64.
#
#   tools   uv and the build backend, by hash
#   wheel   the package as a wheel, from its sources
#   worker  the base, the locked dependencies, the wheel: nothing of the source tree
#
# Any Debian or Ubuntu with Python 3.11 to 3.13, pip and root certificates will do as a base.
ARG BASE_IMAGE=pytorch/pytorch:2.10.0-cuda12.8-cudnn9-runtime

# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS tools
COPY requirements-build.lock /
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        --no-deps --require-hashes --target /tools --requirement /requirements-build.lock

FROM tools AS wheel
WORKDIR /source
COPY . .
RUN PYTHONPATH=/tools /tools/bin/uv build --quiet --wheel --no-build-isolation --python "$(command -v python3)" --out-dir /wheel

# The user stays root: the worker installs the system packages that a request names.
# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS worker
WORKDIR /app
# Changes with the lock only. uv trusts what the base trusts; compiled, so that a cold start need not compile.
RUN --mount=type=bind,from=tools,source=/tools,target=/tools \
    --mount=type=bind,source=requirements-worker.lock,target=/tmp/requirements-worker.lock \
    --mount=type=cache,target=/root/.cache/uv \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt UV_LINK_MODE=copy \
    /tools/bin/uv pip install --quiet --python "$(command -v python3)" --break-system-packages --compile-bytecode \
        --no-deps --require-hashes --requirements /tmp/requirements-worker.lock
# Changes with every commit, and is small.
RUN --mount=type=bind,from=tools,source=/tools,target=/tools \
    --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    /tools/bin/uv pip install --quiet --python "$(command -v python3)" --break-system-packages --compile-bytecode \
        --no-cache --no-deps --no-index /wheel/flashtrial-*.whl

# hf_transfer is what huggingface_hub before 1.0 downloads with, the Xet client what later ones do.
ENV HF_HOME=/hf-cache \
    HF_HUB_ENABLE_HF_TRANSFER=1 \
    HF_XET_HIGH_PERFORMANCE=1 \
    PYTHONUNBUFFERED=1
# A process whose command line is `… flashtrial worker`; a zombie has none. No Python: it is asked every half minute.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["sh", "-c", "grep -qsaP '(^|/)flashtrial\\x00worker\\x00' /proc/[0-9]*/cmdline || exit 1"]
CMD ["flashtrial", "worker"]

ARG VERSION=0.0.0
ARG COMMIT=unknown
ENV FLASHTRIAL_COMMIT=${COMMIT}
LABEL org.opencontainers.image.title="flashtrial worker, CUDA" \
      org.opencontainers.image.description="RunPod serverless worker of flashtrial" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
