# The same program as `make run`, without the embedded servers: PostgreSQL and Redis come from outside
# (KUBENEXUS_DATABASE_URL, KUBENEXUS_REDIS_URL). One image, one role a container: web, watcher, migrate.
FROM python:3.13-slim-bookworm AS build
WORKDIR /app
COPY requirements/bootstrap.lock requirements/app.lock requirements/
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements/bootstrap.lock \
 && /venv/bin/uv pip install --no-cache --compile-bytecode --python /venv/bin/python --require-hashes -r requirements/app.lock
COPY pyproject.toml README.md piccolo_app.py piccolo_conf.py ./
COPY app app
COPY ui ui
COPY kubesim kubesim
COPY piccolo_migrations piccolo_migrations
RUN /venv/bin/uv pip install --no-cache --python /venv/bin/python --no-deps --no-build-isolation --editable . \
 && /venv/bin/python -m compileall -q app ui

FROM python:3.13-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin kubenexus \
 && install -d -o kubenexus /var/lib/kubenexus
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
USER 10001
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    KUBENEXUS_DATA_DIR=/var/lib/kubenexus \
    KUBENEXUS_HOST=0.0.0.0 \
    KUBENEXUS_LOG_FORMAT=json
EXPOSE 8420
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8420/livez', timeout=2)"]
ENTRYPOINT ["kubenexus"]
CMD ["web"]
