# One image for every process: the command chooses the service.
FROM python:3.11-slim AS packages
RUN python -m venv /opt/venv
COPY requirements/runtime.txt /tmp/runtime.txt
RUN /opt/venv/bin/pip install --no-cache-dir --require-hashes -r /tmp/runtime.txt

FROM python:3.11-slim
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app
COPY --from=packages /opt/venv /opt/venv
COPY migrations migrations
COPY superstoryboard superstoryboard
COPY services services
COPY storyboard storyboard
USER 10001:10001
CMD ["python", "-m", "services.ingest"]
