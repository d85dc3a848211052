# One image for the exporter, the jobs on their schedule, and render-config.
#
#   docker build -t unioncore-observability .
#
# Behind a mirror, give pip's own configuration as a secret (it stays out of the image):
#   docker build --secret id=pip_conf,src=$HOME/.config/pip/pip.conf -t unioncore-observability .
#
ARG PYTHON_IMAGE=python:3.13.11-slim-trixie
ARG POSTGRES_IMAGE=postgres:18.6-trixie

FROM ${POSTGRES_IMAGE} AS postgres

# PostgreSQL's programs of the newest major version: pg_dump refuses a server that is newer than itself, and reads all
# older ones. Debian's own are a major version behind, so they come from PostgreSQL's image. The server is among them:
# `verify` restores into one that lives as long as the run. They keep the libraries that they were built with, the C
# library too, so that neither image has to be of the same Debian release as the other. Without JIT: it would bring
# LLVM, which is larger than all the rest.
FROM ${PYTHON_IMAGE} AS programs
RUN apt-get update -qq && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends patchelf tini >/dev/null
RUN --mount=type=bind,from=postgres,target=/postgres set -eu; \
    cp -a /postgres/usr/share/postgresql /usr/share/; cp -a /postgres/usr/lib/postgresql /usr/lib/; \
    cd /usr/lib/postgresql/*/; rm -rf lib/bitcode lib/llvmjit* lib/pgxs bin; mkdir bin private; \
    for program in initdb pg_ctl pg_dump pg_dumpall pg_isready pg_restore postgres psql; do \
      cp "/postgres$PWD/bin/$program" bin/; \
    done; \
    loader=$(patchelf --print-interpreter bin/postgres); \
    for file in bin/* lib/*.so; do \
      "/postgres$loader" --library-path "$(echo /postgres/usr/lib/*-linux-gnu)" --list "$file"; \
    done | awk '$2 == "=>" && $3 ~ "/" {print $3}' | sort -u | xargs cp -L -t private; \
    cp -L "/postgres$loader" private/; \
    for program in bin/*; do \
      patchelf --set-interpreter "$PWD/private/${loader##*/}" --force-rpath --set-rpath "$PWD/private" "$program"; \
      "$program" --version; \
    done; \
    ln -s "$PWD/bin" /usr/lib/postgresql/bin

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv /opt/unioncore/venv
COPY requirements.lock /tmp/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/unioncore/venv/bin/pip install --quiet --require-hashes --only-binary=:all: -r /tmp/requirements.lock
# The programs are run from where they stand, as in a checkout: what they bring along (templates, rules) is beside them.
COPY exporter /opt/unioncore/exporter
COPY scripts /opt/unioncore/scripts
COPY alertmanager /opt/unioncore/alertmanager
COPY prometheus /opt/unioncore/prometheus
COPY grafana/dashboards /opt/unioncore/grafana/dashboards
RUN cd /opt/unioncore && \
    for program in unioncore-exporter=exporter.cli unioncore-ops=scripts.ops; do \
      printf '#!/opt/unioncore/venv/bin/python3\nfrom %s import main\n\nmain()\n' "${program#*=}" \
        >"venv/bin/${program%=*}"; \
      chmod 755 "venv/bin/${program%=*}"; \
    done && \
    venv/bin/python3 -m compileall -q exporter scripts && chmod -R go-w,a+rX /opt/unioncore

FROM ${PYTHON_IMAGE}
# The directories that volumes are mounted on: a new volume takes over their owner.
RUN groupadd --system --gid 10001 unioncore && \
    useradd --system --uid 10001 --gid unioncore --no-create-home --home-dir /var/tmp/unioncore unioncore && \
    install -d -o unioncore -g unioncore -m 755 /etc/unioncore /run/secrets /var/backups/unioncore \
      /var/lib/unioncore-exporter /var/tmp/unioncore
COPY --chmod=755 compose/answers /usr/local/bin/answers
COPY --from=programs /usr/bin/tini /usr/bin/tini
COPY --from=programs /usr/lib/postgresql /usr/lib/postgresql
COPY --from=programs /usr/share/postgresql /usr/share/postgresql
COPY --from=build /opt/unioncore /opt/unioncore

ENV PATH=/opt/unioncore/venv/bin:/usr/lib/postgresql/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/unioncore \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    UNIONCORE_LISTEN=0.0.0.0:9741
WORKDIR /opt/unioncore
USER unioncore
ENTRYPOINT ["tini", "--"]
CMD ["unioncore-exporter", "serve"]
