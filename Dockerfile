# The controller's image. Build: `docker build -t rollout:0.1.0 .`
#
# The base is named by version. To build the same image from the same base for ever, pin its digest in both FROM lines:
# `docker buildx imagetools inspect python:3.13-slim` prints it, then write python:3.13-slim@sha256:… .
FROM python:3.13-slim AS build

# uv from PyPI, the version of the Makefile, so that the lock file is read by what wrote it.
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9
ENV UV_PYTHON_DOWNLOADS=never \
    UV_PYTHON=/usr/local/bin/python3.13 \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    UV_PROJECT_ENVIRONMENT=/opt/rollout
WORKDIR /src

# Dependencies first: they change less often than the code, and this layer is kept.
COPY pyproject.toml uv.lock ./
RUN uv sync --locked --no-dev --no-install-project --no-cache

COPY README.md LICENSE ./
COPY rollout ./rollout
COPY deploy ./deploy
RUN uv sync --locked --no-dev --no-editable --no-cache

FROM python:3.13-slim

LABEL org.opencontainers.image.title="rollout" \
      org.opencontainers.image.description="Metrics-driven canary releases for Istio" \
      org.opencontainers.image.licenses="Apache-2.0"

# The same path as in the build stage: a virtual environment knows where it lives.
COPY --from=build /opt/rollout /opt/rollout
# Bytecode was compiled above; nothing is written at run time, so the root file system may be read-only.
ENV PATH=/opt/rollout/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080

ENTRYPOINT ["rollout"]
CMD ["serve"]
