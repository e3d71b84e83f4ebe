"""An application that prints, as one that is looked for a fault in does."""


def app(environ, start_response):
    print("printed", environ["PATH_INFO"])
    start_response("200 OK", [])
    return [b""]
