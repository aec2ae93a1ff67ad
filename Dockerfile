# The demo, for its server and its workers alike: which of them a container is, its command says.

FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY channels_demux_layer ./channels_demux_layer
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir ".[demo,redis]"

FROM python:3.13-slim
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DJANGO_SETTINGS_MODULE=channels_demux_layer.demo.project.settings
RUN useradd --system --no-create-home demo
USER demo
WORKDIR /
EXPOSE 8000
# Without REDIS_URL all streams run in this one process.
CMD ["python", "-m", "uvicorn", "channels_demux_layer.demo.project.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--lifespan", "off", "--timeout-graceful-shutdown", "5"]
