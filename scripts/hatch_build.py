"""Puts hostler into the wheel: the binary $HOSTLER_BINARY for the platforms
$HOSTLER_PLATFORMS, or one that is built here and now, for here."""

import importlib.util
import os
import platform
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def platforms(arch, libc):
    """The wheel's tags for what build.py builds."""
    if libc == "musl":
        return "musllinux_1_2_" + arch
    return "manylinux_2_17_%s.manylinux2014_%s" % (arch, arch)


class CustomBuildHook(BuildHookInterface):
    def initialize(self, version, build_data):
        binary, tag = os.environ.get("HOSTLER_BINARY"), os.environ.get("HOSTLER_PLATFORMS")
        if not binary:
            binary, tag = self.build()
        build_data["shared_scripts"][binary] = "hostler"
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + tag

    def build(self):
        spec = importlib.util.spec_from_file_location("build", str(Path(self.root) / "scripts/build.py"))
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        arch = platform.machine()
        libc = "gnu" if platform.libc_ver()[0] == "glibc" else "musl"
        out = Path(self.root) / "build/targets" / ("%s-%s" % (arch, libc)) / "hostler"
        build.build(out, arch, [libc])
        return str(out), platforms(arch, libc)
