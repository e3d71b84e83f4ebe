"""gunicorn (gthread) behind nginx, which does TLS and HTTP/2; both end with this process.

python behind.py PORT WORKERS THREADS APP DIR LISTEN, where LISTEN is what follows
the address in nginx's listen: "ssl", "ssl http2" or "http2".
"""

import os
import signal
import subprocess
import sys

CONF = """\
daemon off; worker_processes 1; error_log stderr; pid {dir}/nginx.pid; {user}
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  upstream app {{ server unix:{dir}/gunicorn.sock; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} {listen}; {tls}
    keepalive_requests 100000000;
    location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }}
  }}
}}
"""


def main() -> None:
    port, workers, threads, app, build, listen = sys.argv[1:]
    tls = f"ssl_certificate {build}/cert.pem; ssl_certificate_key {build}/key.pem;" if "ssl" in listen else ""
    user = "user root;" if os.geteuid() == 0 else ""
    conf = os.path.join(build, "nginx.conf")
    with open(conf, "w", encoding="utf-8") as f:
        f.write(CONF.format(dir=build, port=port, listen=listen, tls=tls, user=user))
    program = os.path.join(os.path.dirname(sys.executable), "gunicorn")
    children = [
        subprocess.Popen([program, "-w", workers, "-k", "gthread", "--threads", threads, "-b", f"unix:{build}/gunicorn.sock", app]),
        subprocess.Popen(["nginx", "-p", build, "-c", conf]),
    ]

    def stop(*_: object) -> None:
        for child in children:
            child.terminate()

    signal.signal(signal.SIGTERM, stop)
    for child in reversed(children):  # without nginx there is nothing left to do
        child.wait()
        stop()


if __name__ == "__main__":
    main()
