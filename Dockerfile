# One image for Airflow's components, the jobs they start, and Spark's master and workers.
#
#     docker compose build
#
# It holds the git repository, not only the files: a night's record names the commit that made it,
# and retraining clones the code from here. So `git clone` works inside, nothing has to be mounted,
# and what trains is what was built. Build from a commit; uncommitted changes would score but not
# train, and the records would say "-dirty".
FROM python:3.11.14-slim-bookworm

# git: registry and retraining. procps: Spark's start scripts.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git procps \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home scoring \
    && install --directory --owner=scoring --group=scoring /app /airflow /data /models

USER scoring
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1

# As on a laptop: uv from the lock, then everything else from the lock, byte for byte.
COPY --chown=scoring requirements.txt ./
RUN python -m venv .venv \
    && awk '/^[a-z]/ {wanted = /^uv==/} wanted' requirements.txt > /tmp/uv.txt \
    && python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /tmp/uv.txt \
    && uv pip sync --no-cache --python .venv/bin/python --require-hashes --compile-bytecode requirements.txt

# Java comes with the lock. Its home, and the cache that lets it start fast, belong to who runs it.
COPY --chown=scoring jobs/__init__.py jobs/java.py jobs/
RUN python -m jobs.java
ENV JAVA_HOME=/app/.venv/java

COPY --chown=scoring . .
RUN python -m compileall -q -x '\.venv|\.git' .

# What jobs and Spark's workers write holds customers: it is not for everybody on the machine.
ENTRYPOINT ["sh", "-c", "umask 0027; exec \"$0\" \"$@\""]
# Each service says its own.
CMD ["airflow", "version"]
