"""Unmodified Maestral while servers are killed and come back: two clients on two folders end with the same tree."""

import os
import sys
import time

from maestral.main import Maestral

HOME = sys.argv[1]
TOKEN = os.environ["DROPSTONE_TOKEN"]
ROUNDS = int(os.environ["ROUNDS"])
WAIT = 240


def client(name):
    """A linked client with a folder of its own."""
    maestral = Maestral(name)
    assert maestral.link(access_token=TOKEN) == 0, "it did not link"
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


def write(folder, path, content):
    """Writes a file, with the folders that it lies in."""
    os.makedirs(os.path.join(folder, os.path.dirname(path)), exist_ok=True)
    with open(os.path.join(folder, path), "wb") as file:
        file.write(content)


def differences(left, right):
    """What is not the same in both."""
    return sorted(path for path in left.keys() | right.keys() if left.get(path, 0) != right.get(path, 0))


first, one = client("one")
second, two = client("two")
with open(os.path.join(HOME, "linked"), "w") as mark:
    mark.write("yes")

# Each side has files of its own, so that the end is known: nothing is a conflict.
wanted = {"left": None, "right": None}
for number in range(ROUNDS):
    for folder, side in ((one, "left"), (two, "right")):
        content = os.urandom(40_000 + number * 1000)
        path = "%s/file %d.bin" % (side, number)
        write(folder, path, content)
        wanted[path] = content
        if number % 3 == 2:
            changed = "%s/file %d.bin" % (side, number - 1)
            write(folder, changed, b"changed in round %d" % number)
            wanted[changed] = b"changed in round %d" % number
        if number % 4 == 3:
            gone = "%s/file %d.bin" % (side, number - 3)
            os.remove(os.path.join(folder, gone))
            del wanted[gone]
    time.sleep(2)
with open(os.path.join(HOME, "written"), "w") as mark:
    mark.write("yes")

began = time.time()
while True:
    try:
        left, right = tree(one), tree(two)
    except FileNotFoundError:
        # It went while it was read.
        continue
    if left == wanted and right == wanted:
        break
    if time.time() - began > WAIT:
        print("  errors:", first.sync_errors, second.sync_errors, first.fatal_errors, second.fatal_errors)
        raise AssertionError("not as wanted: one %s, two %s" % (differences(left, wanted), differences(right, wanted)))
    time.sleep(0.25)
print("  %d entries are the same in both folders %.1f s after the last change" % (len(wanted), time.time() - began))
for maestral in (first, second):
    assert not maestral.fatal_errors, maestral.fatal_errors
    maestral.stop_sync()
