"""Unmodified Maestral against `dropstone dev`: two clients on two folders of one account keep each other in sync."""

import os
import shutil
import sys
import time

import requests
from maestral.exceptions import NotFoundError, PathError
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


def calls_beside_sync():
    """What its commands do over and above keeping folders in sync."""
    client = first.client
    folders = ["/batch/%d" % number for number in range(12)]
    for force_async in (False, True):
        made = client.make_dir_batch(folders + ["/bad\\"], force_async=force_async)
        assert [entry.path_lower for entry in made[:-1]] == folders, made
        assert isinstance(made[-1], PathError), made
        gone = client.remove_batch([(folder, None) for folder in folders + ["/none"]], batch_size=5)
        assert [entry.path_lower for entry in gone[:-1]] == folders, gone
        assert isinstance(gone[-1], NotFoundError), gone
    versions = client.list_revisions("/versions.txt")
    assert len(versions) == 2, versions
    assert client.restore("/versions.txt", versions[1].rev).size == versions[1].size
    link = client.create_shared_link("/versions.txt")
    assert link.url in [known.url for known in client.list_shared_links("/versions.txt")]
    assert requests.get(link.url, timeout=60).status_code == 200
    client.revoke_shared_link(link.url)
    assert not client.list_shared_links("/versions.txt")
    assert client.share_dir("/shared").shared
    assert client.share_dir("/shared later", force_async=True).shared
    account = client.get_account_info()
    assert client.get_account_info(account.account_id).email == account.email
    assert client.get_space_usage().used > 0


write(one, "versions.txt", b"first")
same("first version", lambda tree: tree.get("versions.txt") == b"first")
write(two, "versions.txt", b"the second")
same("second version", lambda tree: tree.get("versions.txt") == b"the second")
calls_beside_sync()
same("restore and shares", lambda tree: tree.get("versions.txt") == b"first" and "shared later" in tree)
for maestral in (first, second):
    assert not maestral.fatal_errors, maestral.fatal_errors
    assert not maestral.sync_errors, maestral.sync_errors
    maestral.stop_sync()
second.unlink()
assert second.cred_storage.token is None, "it is linked still"
