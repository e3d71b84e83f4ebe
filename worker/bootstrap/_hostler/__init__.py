"""The Python side of hostler's processes.

launch.py, which runs first, finds these modules, compiled, in no folder at all. Each kind
of process imports those that it needs, and all of them before the application or, at the
latest, before it serves:

    all        stdlib start interpreter descriptors protocol signals threads app interface
               reasons frames log
    worker     worker library wsgi objects profile collect
    mold       those of its workers, and mold ready audit title
    hooks      hooks conf title
    as told    paste (--paste), hooks conf observe (--hooks, --config), reload (--reload),
               ready (--ready-path), imports appmetrics (--app-metrics), imports routes
               (--metrics-routes), in workers and molds

A kind of application that is served in another way, on an event loop for one, is told by
interface.py, served by a module beside worker.py, and imported by worker.py alone, once
the application is known: the finder goes no earlier.

stdlib comes first: no other module imports a file of the application's that is called as
one of the standard library's. Nobody imports these modules by a name of theirs: all names
begin with _hostler. And none of theirs is looked for under that name.
"""
