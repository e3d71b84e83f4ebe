"""A WebDAV share of the directory in FILES, by WsgiDAV."""

import os

from wsgidav.wsgidav_app import WsgiDAVApp

app = WsgiDAVApp(
    {
        "provider_mapping": {"/": os.environ["FILES"]},
        "simple_dc": {"user_mapping": {"*": True}},
        "lock_storage": True,
        "verbose": 1,
        "logging": {"enable": False},
    }
)
