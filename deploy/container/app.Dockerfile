# An application's image, to copy and adapt. In it are the Python, the application with its
# environment, and the libraries that these ask for: no shell, no pip, no package manager.
#
#   docker build -t shop -f app.Dockerfile .
#   docker run --rm -p 8000:8000 --read-only --tmpfs /tmp shop
ARG PYTHON=python:3.13-slim
ARG HOSTLER=hostler
FROM ${HOSTLER} AS hostler

FROM ${PYTHON} AS build
WORKDIR /srv/app
# CHANGE where the environment is made in another way: it has to be /srv/app/.venv.
COPY requirements.txt .
ARG VENV_FLAGS=
RUN python3 -m venv $VENV_FLAGS .venv && .venv/bin/pip install --no-cache-dir -r requirements.txt
COPY . .
COPY --from=hostler /hostler .venv/bin/hostler
COPY --from=hostler /rootfs.sh /tmp/rootfs.sh
RUN sh /tmp/rootfs.sh /rootfs /srv/app

FROM scratch
COPY --from=build /rootfs /
# By number: Kubernetes' runAsNonRoot wants to see that it is not root.
USER 65532:65532
WORKDIR /srv/app
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8000 9191
# hostler is process 1: it reaps what the application leaves behind, and finishes what runs
# at SIGTERM (--graceful-timeout, 30 s: docker stop --time 35).
STOPSIGNAL SIGTERM
ENTRYPOINT ["/srv/app/.venv/bin/hostler", "--bind", "0.0.0.0:8000", "--admin-bind", "0.0.0.0:9191", "--ctl-socket", "/tmp/hostler.sock"]
# CHANGE: the application.
CMD ["app:app"]
