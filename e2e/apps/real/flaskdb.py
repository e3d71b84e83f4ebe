"""A Flask application with PostgreSQL, by the driver that DRIVER names, as with gevent."""

import os

from flask import Flask, request

driver = os.environ["DRIVER"]
if driver == "psycopg2":
    import psycopg2 as psycopg
    from psycogreen.gevent import patch_psycopg

    patch_psycopg()
else:
    import psycopg

app = Flask(__name__)

# Waits in the database until so many are in there.
MEET = """
do $$ begin
  for i in 1 .. 1200 loop
    exit when (select count(*) from arrived) >= %d;
    perform pg_sleep(0.05);
  end loop;
end $$"""


def connect():
    connection = psycopg.connect("dbname=postgres user=postgres host=" + os.environ["DB"])
    connection.autocommit = True
    return connection


@app.route("/make")
def make():
    with connect() as c:
        c.cursor().execute("drop table if exists arrived")
        c.cursor().execute("create table arrived (who serial)")
    return "made"


@app.route("/meet")
def meet():
    n = int(request.query_string)
    c = connect()
    try:
        cursor = c.cursor()
        cursor.execute("insert into arrived default values")
        cursor.execute(MEET % n)
        cursor.execute("select count(*) from arrived")
        there = cursor.fetchone()[0]
    finally:
        c.close()
    return "met %d by %s" % (there, driver) if request.path == "/meet" else "another's request"


@app.route("/rows")
def rows():
    with connect() as c:
        cursor = c.cursor()
        cursor.execute("select n, repeat('x', 1000) from generate_series(1, 3000) n")
        return str(sum(n * len(text) for n, text in cursor))


@app.route("/wrong")
def wrong():
    with connect() as c:
        c.cursor().execute("select no_such_column")


@app.route("/sleep")
def sleep():
    with connect() as c:
        c.cursor().execute("select pg_sleep(%s)", (float(request.query_string),))
    return "slept"
