# Two stages: wheels are built in the first and thrown away with it; the second has what runs.
FROM python:3.12-slim AS build
ARG PIP_INDEX_URL
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/redloom \
 && /opt/redloom/bin/pip install --no-cache-dir -c constraints.txt ".[mcp]"

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin redloom \
 && install -d -o redloom -g redloom -m 0700 /data
COPY --from=build /opt/redloom /opt/redloom
ENV PATH=/opt/redloom/bin:$PATH REDLOOM_HOME=/data LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1
USER redloom
WORKDIR /data
VOLUME /data
EXPOSE 8787
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8787/health', timeout=4)"]
# Without REDLOOM_TOKEN it refuses to start: in a container every caller comes from outside.
CMD ["redloom", "serve", "--host", "0.0.0.0"]
