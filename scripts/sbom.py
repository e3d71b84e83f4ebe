#!/usr/bin/env python3
"""sbom.py OUT TOOL VERSION FILE...: write the bill of materials of the programs and libraries.

TOOL is cyclonedx-gomod, which reads from each FILE the modules that are in it. OUT is one
CycloneDX document for all of them: the same files give the same bytes.
"""

import json
import subprocess
import sys


def materials(tool, version, file):
    command = [tool, "bin", "-json", "-std", "-noserial", "-notimestamp", "-version", "v" + version, file]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def merged(documents):
    """One document: of each part one entry, on which whatever needs it depends."""
    whole = documents[0]
    main = whole["metadata"]["component"]["bom-ref"]
    parts, needs = {}, {}
    for document in documents:
        top = document["metadata"]["component"]["bom-ref"]
        for part in document.get("components", []):
            # The same module, whatever it is compiled for.
            part["purl"] = part["purl"].replace("goarch=amd64&", "").replace("goarch=arm64&", "").replace("goos=linux&", "")
            parts[part["bom-ref"]] = part
        for entry in document.get("dependencies", []):
            ref = main if entry["ref"] == top else entry["ref"]
            needs.setdefault(ref, set()).update(entry.get("dependsOn", []))
    # About the tool's own build, and about the one binary that came first.
    whole["metadata"].pop("properties", None)
    for tool in whole["metadata"].get("tools", []):
        tool.pop("hashes", None)
    component = whole["metadata"]["component"]
    component["purl"] = component["purl"].replace("goarch=amd64&goos=linux&", "")
    whole["components"] = [parts[ref] for ref in sorted(parts)]
    whole["dependencies"] = [{"ref": ref, "dependsOn": sorted(needs[ref])} for ref in sorted(needs)]
    whole.pop("compositions", None)
    return whole


def main():
    if len(sys.argv) < 5:
        raise SystemExit(__doc__)
    out, tool, version, files = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
    with open(out, "w") as f:
        json.dump(merged([materials(tool, version, file) for file in files]), f, indent=1, sort_keys=True)
        f.write("\n")


main()
