import sys
import unittest
from types import ModuleType
from unittest import mock

from _hostler import paste
from _hostler.app import LoadError
from tests.helpers import folder


def application(environ, start_response):
    return []


class Paste(unittest.TestCase):
    def with_modules(self, loaded, plaster=None):
        deploy = ModuleType("paste.deploy")
        deploy.loadapp = mock.Mock(return_value=loaded)
        package = ModuleType("paste")
        package.deploy = deploy
        return deploy.loadapp, mock.patch.dict(sys.modules, {"paste": package, "paste.deploy": deploy, "plaster": plaster})

    def test_missing(self):
        with self.assertRaisesRegex(LoadError, "there is no file /no/such.ini"):
            paste.load_paste("/no/such.ini#main")

    def test_deploy(self):
        with folder() as path:
            file = path + "/site.ini"
            with open(file, "w") as f:
                f.write("[app:main]\n")
            loadapp, modules = self.with_modules(application)
            with modules:
                self.assertIs(paste.load_paste(file + "#shop"), application)
            self.assertEqual(loadapp.call_args, mock.call("config:" + file, name="shop"))
            for odd, text in ((3, "is not callable, but int"), (lambda scope: None, "is for ASGI")):
                _, modules = self.with_modules(odd)
                with modules, self.assertRaisesRegex(LoadError, text):
                    paste.load_paste(file)
            with mock.patch.dict(sys.modules, {"plaster": None, "paste.deploy": None}), self.assertRaisesRegex(LoadError, "--paste needs PasteDeploy"):
                paste.load_paste(file)
