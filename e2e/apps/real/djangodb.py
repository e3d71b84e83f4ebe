"""A Django application with PostgreSQL, by the driver that DRIVER names, as with gevent."""

import os

if os.environ["DRIVER"] == "psycopg2":
    import sys

    from psycogreen.gevent import patch_psycopg

    patch_psycopg()
    sys.modules["psycopg"] = None  # Django takes that where both are

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="x",
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres", "HOST": os.environ["DB"]}},
)
django.setup()

from django.db.backends.postgresql.psycopg_any import is_psycopg3
from flaskdb import MEET


def make(request):
    with connection.cursor() as cursor:
        cursor.execute("drop table if exists arrived")
        cursor.execute("create table arrived (who serial)")
    return HttpResponse("made")


def meet(request):
    with connection.cursor() as cursor:
        cursor.execute("insert into arrived default values")
        cursor.execute(MEET % int(request.META["QUERY_STRING"]))
        cursor.execute("select count(*) from arrived")
        return HttpResponse("met %d by %s" % (cursor.fetchone()[0], "psycopg" if is_psycopg3 else "psycopg2"))


def rows(request):
    with connection.cursor() as cursor:
        cursor.execute("select n, repeat('x', 1000) from generate_series(1, 3000) n")
        return HttpResponse(str(sum(n * len(text) for n, text in cursor)))


def wrong(request):
    with connection.cursor() as cursor:
        cursor.execute("select no_such_column")


def sleep(request):
    with connection.cursor() as cursor:
        cursor.execute("select pg_sleep(%s)", [float(request.META["QUERY_STRING"])])
    return HttpResponse("slept")


urlpatterns = [path(view.__name__, view) for view in (make, meet, rows, wrong, sleep)]
app = get_wsgi_application()
