"""Unmodified Maestral against `dropstone dev`: two clients on two folders of one account keep each other in sync."""

import os
import shutil
import sys
import time

from maestral.main import Maestral

HOME = sys.argv[1]
TOKEN = os.environ["DROPBOX_REFRESH_TOKEN"]
WAIT = 90


def client(name):
    """A linked client with a folder of its own."""
    maestral = Maestral(name)
    assert maestral.link(refresh_token=TOKEN) == 0, "it did not link"
    folder = os.path.join(HOME, "folder of " + name)
    maestral.create_dropbox_directory(folder)
    maestral.start_sync()
    return maestral, folder


def tree(folder):
    """All below a folder, with the content of files."""
    found = {}
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".maestral")]
        for name in folders:
            found[os.path.relpath(os.path.join(base, name), folder)] = None
        for name in names:
            if name.startswith(".maestral") or name == ".dropbox":
                continue
            path = os.path.join(base, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = file.read()
    return found


def same(step, wanted=None):
    """Waits until both folders hold the same, and what is wanted."""
    began = time.time()
    while True:
        try:
            left, right = tree(one), tree(two)
        except FileNotFoundError:
            # It went while it was read.
            continue
        if left == right and (wanted is None or wanted(left)):
            print("  step %s: %d entries, %.1f s" % (step, len(left), time.time() - began))
            return
        if time.time() - began > WAIT:
            raise AssertionError("%s: %s and %s" % (step, sorted(left), sorted(right)))
        time.sleep(0.25)


first, one = client("one")
second, two = client("two")


def write(folder, path, content):
    """Writes a file, with the folders that it lies in."""
    os.makedirs(os.path.join(folder, os.path.dirname(path)), exist_ok=True)
    with open(os.path.join(folder, path), "wb") as file:
        file.write(content)


write(one, "photos/a/x.txt", b"hello")
write(one, "big.bin", os.urandom(9_000_000))
same("create", lambda tree: tree.get("photos/a/x.txt") == b"hello" and "big.bin" in tree)
write(two, "photos/a/x.txt", b"changed over there")
same("edit", lambda tree: tree.get("photos/a/x.txt") == b"changed over there")
os.rename(os.path.join(one, "photos"), os.path.join(one, "Pictures"))
same("move", lambda tree: "Pictures/a/x.txt" in tree and "photos" not in tree)
os.rename(os.path.join(two, "Pictures"), os.path.join(two, "pictures"))
same("change of case", lambda tree: "pictures/a/x.txt" in tree and "Pictures" not in tree)
shutil.rmtree(os.path.join(one, "pictures"))
same("delete", lambda tree: not any(path.startswith("pictures") for path in tree))
first.stop_sync()
second.stop_sync()
write(one, "both.txt", b"of one")
write(two, "both.txt", b"of the other")
first.start_sync()
same_name = lambda tree: tree.get("both.txt") is not None
time.sleep(5)
second.start_sync()
same("conflict", lambda tree: same_name(tree) and sum(1 for path in tree if path.startswith("both")) == 2)
for maestral in (first, second):
    assert not maestral.fatal_errors, maestral.fatal_errors
    assert not maestral.sync_errors, maestral.sync_errors
    maestral.stop_sync()
