"""Hooks of mkdocs (make site): the site is made of the pages that the repository has.

README.md is its first page, and what pages link to outside of docs/ becomes part of it at
the same place: pages as pages, other files as they are. A link to what is not there ends
the build (strict), and so does one to a whole folder that has no README.md.
"""
import os
import posixpath
import re

from mkdocs.structure.files import File

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
FENCE = re.compile(r"(?ms)^\s*```.*?^\s*```\s*?$|`[^`\n]*`")


def source_of(uri):
    """Where a file of the site is in the repository."""
    if uri == "index.md":
        return "README.md"
    return "docs/" + uri if os.path.exists(f"{ROOT}/docs/{uri}") else uri


def site_of(path):
    """Where a file of the repository is in the site."""
    if path == "README.md":
        return "index.md"
    return path.removeprefix("docs/")


def links(text):
    """The links of a page, code left aside, as matches."""
    code = [m.span() for m in FENCE.finditer(text)]
    for m in LINK.finditer(text):
        if "://" not in m[2] and not any(a <= m.start() < b for a, b in code):
            yield m


def target(page, link):
    """The file of the repository that a page's link is to, and the anchor."""
    path, hash_, anchor = link.partition("#")
    if not path:
        return None, hash_ + anchor
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
    if os.path.isfile(f"{ROOT}/{path}/README.md"):
        path += "/README.md"
    return path, hash_ + anchor


def on_files(files, config):
    todo = ["README.md"] + [source_of(f.src_uri) for f in files.documentation_pages()]
    seen = {source_of(f.src_uri) for f in files}
    while todo:
        page = todo.pop()
        if page not in seen:
            seen.add(page)
            files.append(File.generated(config, site_of(page), abs_src_path=f"{ROOT}/{page}"))
        if not page.endswith(".md"):
            continue
        with open(f"{ROOT}/{page}") as f:
            text = f.read()
        for m in links(text):
            path, _ = target(page, m[2])
            if path and os.path.isfile(f"{ROOT}/{path}") and path not in seen and not path.startswith(".."):
                todo.append(path)
    return files


def on_page_markdown(markdown, page, config, files):
    me = source_of(page.file.src_uri)

    def moved(m):
        path, anchor = target(me, m[2])
        if not path:
            return m[0]
        if os.path.isdir(f"{ROOT}/{path}"):  # a folder: its name is all that a site has of it
            return m[0]
        to = posixpath.relpath(site_of(path), posixpath.dirname(page.file.src_uri) or ".")
        return f"{m[1]}{to}{anchor}{m[3]}"

    out, at = [], 0
    for m in links(markdown):
        out += [markdown[at:m.start()], moved(m)]
        at = m.end()
    return "".join(out) + markdown[at:]
