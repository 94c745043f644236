# One image for every process: the command chooses the service.
FROM python:3.11-slim AS packages
RUN python -m venv --without-pip /opt/venv
COPY requirements/image.txt /tmp/image.txt
# Wheels alone: nothing of a package runs, or is compiled, when the image is built.
RUN pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --only-binary :all: --require-hashes -r /tmp/image.txt

FROM python:3.11-slim
# Whoever gets into a container finds nothing to install programs with.
RUN pip uninstall --yes setuptools wheel pip
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app
COPY --from=packages /opt/venv /opt/venv
COPY pyproject.toml pyproject.toml
COPY migrations migrations
COPY superstoryboard superstoryboard
COPY services services
COPY storyboard storyboard
USER 10001:10001
CMD ["python", "-m", "services.ingest"]
