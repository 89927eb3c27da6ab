"""The unmodified Python SDK against `dropstone dev`: what it decodes, it has validated against its own types."""

import os
import random
import sys
import tempfile
import threading

import dropbox
import requests
from dropbox import common, exceptions, files, sharing, users

TOKEN = os.environ["DROPSTONE_TOKEN"]
REFRESH = os.environ["DROPBOX_REFRESH_TOKEN"]
done = []


def flow(function):
    """Runs a flow and notes its name; the first failure ends all."""
    print("  flow", function.__name__.replace("_", " "))
    function()
    done.append(function.__name__)


def refused(error, call, *args, **kwargs):
    """The error that a call must end with."""
    try:
        call(*args, **kwargs)
    except error as caught:
        return caught
    raise AssertionError("%s was not refused" % call.__name__)


dbx = dropbox.Dropbox(oauth2_access_token=TOKEN, max_retries_on_error=0, timeout=60)


@flow
def account_and_space():
    account = dbx.users_get_current_account()
    assert len(account.account_id) == 40 and account.account_type.is_pro()
    assert isinstance(account.root_info, common.UserRootInfo)
    assert dbx.users_get_account(account.account_id).is_teammate is False
    refused(exceptions.ApiError, dbx.users_get_account, account.account_id[:-1] + "-")
    assert dbx.users_get_space_usage().allocation.is_individual()
    assert dbx.check_user("hello").result == "hello"


@flow
def refresh_and_bad_tokens():
    fresh = dropbox.Dropbox(oauth2_refresh_token=REFRESH, app_key="any")
    assert fresh.users_get_current_account().account_id == dbx.users_get_current_account().account_id
    bad = refused(exceptions.AuthError, dropbox.Dropbox("sl.bad").users_get_current_account)
    assert bad.error.is_invalid_access_token()
    bad = dropbox.Dropbox(oauth2_refresh_token="bad", app_key="any")
    refused(exceptions.AuthError, bad.users_get_current_account)
    app = dropbox.Dropbox(app_key="key", app_secret="secret")
    assert app.check_app("hello").result == "hello"


@flow
def a_code_becomes_tokens():
    sign_in = dropbox.DropboxOAuth2FlowNoRedirect("any", use_pkce=True, token_access_type="offline")
    page = requests.get(sign_in.start(), timeout=60).text
    code = page.split('<code id="code">')[1].split("<")[0]
    granted = sign_in.finish(code)
    assert granted.account_id == dbx.users_get_current_account().account_id and granted.refresh_token
    assert dropbox.Dropbox(granted.access_token).check_user("hello").result == "hello"


@flow
def folders():
    made = dbx.files_create_folder_v2("/sdk/Folder")
    assert isinstance(made.metadata, files.FolderMetadata) and made.metadata.path_lower == "/sdk/folder"
    error = refused(exceptions.ApiError, dbx.files_create_folder_v2, "/SDK/folder").error
    assert error.get_path().get_conflict().is_folder()
    again = dbx.files_create_folder_v2("/sdk/folder", autorename=True)
    assert again.metadata.name == "folder (1)"
    moved = dbx.files_move_v2("/sdk/folder (1)", "/sdk/moved").metadata
    assert moved.id == again.metadata.id
    copied = dbx.files_copy_v2("/sdk/moved", "/sdk/copied").metadata
    assert isinstance(copied, files.FolderMetadata) and copied.id != moved.id
    error = refused(exceptions.ApiError, dbx.files_move_v2, "/sdk", "/sdk/moved/x").error
    assert error.is_cant_move_folder_into_itself()
    deleted = dbx.files_delete_v2("/sdk/copied").metadata
    assert isinstance(deleted, files.FolderMetadata)
    assert isinstance(dbx.files_get_metadata("/sdk/copied", include_deleted=True), files.DeletedMetadata)
    error = refused(exceptions.ApiError, dbx.files_get_metadata, "/sdk/copied").error
    assert error.get_path().is_not_found()
    refused(exceptions.BadInputError, dbx.files_get_metadata, "/")


@flow
def first_versions_of_routes():
    made = dbx.files_create_folder("/sdk/v1")
    moved = dbx.files_move("/sdk/v1", "/sdk/v1 moved")
    assert isinstance(moved, files.FolderMetadata) and moved.id == made.id
    assert isinstance(dbx.files_copy("/sdk/v1 moved", "/sdk/v1 copied"), files.FolderMetadata)
    assert dbx.files_delete("/sdk/v1 copied").name == "v1 copied"


@flow
def batches():
    made = dbx.files_create_folder_batch(["/sdk/b%d" % n for n in range(5)] + ["/bad\\"])
    entries = made.get_complete().entries
    assert [entry.is_success() for entry in entries] == [True] * 5 + [False]
    assert entries[5].get_failure().get_path().is_malformed_path()
    job = dbx.files_create_folder_batch(["/sdk/later"], force_async=True).get_async_job_id()
    assert dbx.files_create_folder_batch_check(job).get_complete().entries[0].is_success()
    gone = dbx.files_delete_batch([files.DeleteArg("/sdk/b0"), files.DeleteArg("/sdk/none")])
    entries = gone.get_complete().entries
    assert entries[0].is_success() and entries[1].get_failure().get_path_lookup().is_not_found()
    error = refused(exceptions.ApiError, dbx.files_delete_batch_check, "none").error
    assert error.is_invalid_async_job_id()


@flow
def listings_and_cursors():
    page = dbx.files_list_folder("", recursive=True, limit=2)
    seen = {entry.path_lower for entry in page.entries}
    while page.has_more:
        page = dbx.files_list_folder_continue(page.cursor)
        seen |= {entry.path_lower for entry in page.entries}
    assert {"/sdk", "/sdk/folder", "/sdk/moved", "/sdk/b1"} <= seen, seen
    waker = threading.Timer(0.5, lambda: dbx.files_create_folder_v2("/sdk/wake"))
    waker.start()
    assert dbx.files_list_folder_longpoll(page.cursor, timeout=30).changes
    waker.join()
    changes = dbx.files_list_folder_continue(page.cursor)
    assert "/sdk/wake" in {entry.path_lower for entry in changes.entries}
    latest = dbx.files_list_folder_get_latest_cursor("", recursive=True).cursor
    assert dbx.files_list_folder_continue(latest).entries == []
    refused(exceptions.BadInputError, dbx.files_list_folder_continue, "AAnone")


@flow
def path_roots():
    root = dbx.users_get_current_account().root_info.root_namespace_id
    assert dbx.with_path_root(common.PathRoot.root(root)).files_list_folder("").entries
    assert dbx.with_path_root(common.PathRoot.namespace_id(root)).files_list_folder("").entries
    wrong = dbx.with_path_root(common.PathRoot.root("1234567890"))
    assert refused(exceptions.PathRootError, wrong.files_list_folder, "").error.is_invalid_root()
    wrong = dbx.with_path_root(common.PathRoot.namespace_id("1234567890"))
    assert refused(exceptions.PathRootError, wrong.files_list_folder, "").error.is_no_permission()


@flow
def links():
    made = dbx.sharing_create_shared_link_with_settings("/sdk/folder")
    assert isinstance(made, sharing.FolderLinkMetadata) and made.link_permissions.can_revoke
    error = refused(exceptions.ApiError, dbx.sharing_create_shared_link_with_settings, "/sdk/folder").error
    assert error.get_shared_link_already_exists().get_metadata().url == made.url
    assert made.url in [link.url for link in dbx.sharing_list_shared_links("/sdk/folder").links]
    dbx.sharing_revoke_shared_link(made.url)
    error = refused(exceptions.ApiError, dbx.sharing_revoke_shared_link, made.url).error
    assert error.is_shared_link_not_found()
    error = refused(exceptions.ApiError, dbx.sharing_revoke_shared_link, "https://example.com/x").error
    assert error.is_shared_link_malformed()


@flow
def shared_folders():
    shared = dbx.sharing_share_folder("/sdk/shared").get_complete()
    assert isinstance(shared, sharing.SharedFolderMetadata) and shared.access_type.is_owner()
    there = dbx.files_get_metadata("ns:" + shared.shared_folder_id)
    assert isinstance(there, files.FolderMetadata) and there.shared_folder_id == shared.shared_folder_id
    inside = dbx.files_create_folder_v2("/sdk/shared/in").metadata
    assert inside.sharing_info.parent_shared_folder_id == shared.shared_folder_id
    error = refused(exceptions.ApiError, dbx.sharing_share_folder, "/sdk/shared").error
    assert error.get_bad_path().get_already_shared().shared_folder_id == shared.shared_folder_id
    job = dbx.sharing_share_folder("/sdk/shared too", force_async=True).get_async_job_id()
    while True:
        status = dbx.sharing_check_share_job_status(job)
        if not status.is_in_progress():
            break
    assert status.get_complete().name == "shared too"


@flow
def shared_folders_listed_and_mounted():
    page = dbx.sharing_list_folders(limit=1)
    seen = {entry.path_lower: entry for entry in page.entries}
    while page.cursor:
        page = dbx.sharing_list_folders_continue(page.cursor)
        seen.update((entry.path_lower, entry) for entry in page.entries)
    shared = seen["/sdk/shared"]
    assert isinstance(shared, sharing.SharedFolderMetadata) and "/sdk/shared too" in seen
    number = shared.shared_folder_id
    assert dbx.sharing_get_folder_metadata(number).name == "shared"
    error = refused(exceptions.ApiError, dbx.sharing_get_folder_metadata, "1").error
    assert error.is_invalid_id()
    assert refused(exceptions.ApiError, dbx.sharing_mount_folder, number).error.is_already_mounted()
    dbx.files_delete_v2("/sdk/shared")
    assert dbx.sharing_get_folder_metadata(number).path_lower is None
    mounted = dbx.sharing_mount_folder(number)
    dbx.files_move_v2(mounted.path_lower, "/sdk/shared")
    assert dbx.sharing_list_received_files().entries == []
    error = refused(exceptions.ApiError, dbx.sharing_list_received_files_continue, "x").error
    assert error.is_invalid_cursor()


def content_is_served():
    """A gateway alone names the content host; then this part is for another suite."""
    try:
        dbx.files_upload(b"x", "/sdk/probe", mode=files.WriteMode.overwrite)
        return True
    except exceptions.BadInputError as error:
        if "content host" in error.message:
            return False
        raise


if content_is_served():

    @flow
    def content():
        put = dbx.files_upload(b"one", "/sdk/a.txt")
        assert isinstance(put, files.FileMetadata) and put.size == 3
        metadata, response = dbx.files_download("/sdk/a.txt")
        assert response.content == b"one" and metadata.rev == put.rev
        error = refused(exceptions.ApiError, dbx.files_upload, b"two", "/sdk/a.txt").error
        assert error.get_path().reason.get_conflict().is_file()
        update = files.WriteMode.update(put.rev)
        changed = dbx.files_upload(b"three", "/sdk/a.txt", mode=update)
        listed = dbx.files_list_revisions("/sdk/a.txt")
        assert [entry.size for entry in listed.entries] == [5, 3]
        assert dbx.files_restore("/sdk/a.txt", put.rev).size == 3
        assert changed.id == put.id
        conflicted = dbx.files_upload(b"four", "/sdk/a.txt", mode=update, autorename=True)
        assert "conflicted copy" in conflicted.name

    def blob(seed, size):
        return random.Random(seed).randbytes(size)

    @flow
    def downloads_in_parts():
        data = blob(1, 9 * 1024 * 1024 + 7)
        put = dbx.files_upload(data, "/sdk/parts.bin")
        for path in ("/sdk/PARTS.bin", put.id, "rev:" + put.rev):
            metadata, response = dbx.files_download(path)
            assert response.content == data and metadata.content_hash == put.content_hash
        saved = os.path.join(tempfile.mkdtemp(), "parts.bin")
        dbx.files_download_to_file(saved, "/sdk/parts.bin")
        with open(saved, "rb") as file:
            assert file.read() == data
        # The SDK has no argument for a range: its session sends what it is told.
        dbx._session.headers["Range"] = "bytes=4194300-4194310"
        try:
            _, response = dbx.files_download("/sdk/parts.bin")
        finally:
            del dbx._session.headers["Range"]
        assert response.status_code == 206 and response.content == data[4194300:4194311]
        error = refused(exceptions.ApiError, dbx.files_download, "/sdk/none").error
        assert error.get_path().is_not_found()
        error = refused(exceptions.ApiError, dbx.files_export, "/sdk/parts.bin").error
        assert error.is_non_exportable()

    @flow
    def upload_session_in_order():
        data = blob(2, 13 * 1024 * 1024 + 54321)
        session = dbx.files_upload_session_start(data[:100]).session_id
        offset = 100
        for size in (184564, 4 * 1024 * 1024, 1, 5 * 1024 * 1024):
            cursor = files.UploadSessionCursor(session, offset)
            dbx.files_upload_session_append_v2(data[offset:offset + size], cursor)
            offset += size
        dbx.files_upload_session_append(data[offset:offset + 7], session, offset)
        offset += 7
        wrong = files.UploadSessionCursor(session, offset - 1)
        error = refused(exceptions.ApiError, dbx.files_upload_session_append_v2, b"x", wrong).error
        assert error.get_incorrect_offset().correct_offset == offset
        commit = files.CommitInfo("/sdk/session.bin")
        error = refused(exceptions.ApiError, dbx.files_upload_session_finish, b"", wrong, commit).error
        assert error.get_lookup_failed().get_incorrect_offset().correct_offset == offset
        cursor = files.UploadSessionCursor(session, offset)
        put = dbx.files_upload_session_finish(data[offset:], cursor, commit)
        assert put.size == len(data)
        again = dbx.files_upload_session_finish(data[offset:], cursor, commit)
        assert again.rev == put.rev
        assert dbx.files_download("/sdk/session.bin")[1].content == data
        error = refused(exceptions.ApiError, dbx.files_upload_session_append_v2, b"x", cursor).error
        assert error.is_not_found()

    @flow
    def upload_session_in_any_order():
        block = 4 * 1024 * 1024
        data = blob(3, 2 * block + 99)
        kind = files.UploadSessionType.concurrent
        session = dbx.files_upload_session_start(b"", session_type=kind).session_id
        for at, close in ((2 * block, True), (0, False), (block, False)):
            cursor = files.UploadSessionCursor(session, at)
            dbx.files_upload_session_append_v2(data[at:at + block], cursor, close=close)
        cursor = files.UploadSessionCursor(session, len(data))
        dbx.files_upload_session_finish(b"", cursor, files.CommitInfo("/sdk/concurrent.bin"))
        assert dbx.files_download("/sdk/concurrent.bin")[1].content == data

    @flow
    def batch_of_upload_sessions():
        ids = dbx.files_upload_session_start_batch(3).session_ids
        entries = []
        for number, session in enumerate(ids):
            data = blob(number, 1000 * number)
            cursor = files.UploadSessionCursor(session, 0)
            dbx.files_upload_session_append_v2(data, cursor, close=number < 2)
            cursor = files.UploadSessionCursor(session, len(data))
            commit = files.CommitInfo("/sdk/batch %d" % number, mode=files.WriteMode.overwrite)
            entries.append(files.UploadSessionFinishArg(cursor, commit))
        told = dbx.files_upload_session_finish_batch_v2(entries).entries
        assert told[0].get_success().size == 0 and told[1].get_success().name == "batch 1"
        assert told[2].get_failure().get_lookup_failed().is_not_closed()
        told = dbx.files_upload_session_finish_batch(entries[:2]).get_complete().entries
        assert [entry.is_success() for entry in told] == [True, True]
        error = refused(exceptions.ApiError, dbx.files_upload_session_finish_batch_check, "none").error
        assert error.is_invalid_async_job_id()

    @flow
    def wrong_hash_and_shared_folder():
        error = refused(exceptions.ApiError, dbx.files_upload, b"x", "/sdk/bad", content_hash="0" * 64).error
        assert error.is_content_hash_mismatch()
        inside = dbx.files_upload(b"inside", "/sdk/shared/file")
        assert inside.sharing_info.parent_shared_folder_id
        assert inside.path_display == "/sdk/shared/file"
        cursor = files.UploadSessionCursor(dbx.files_upload_session_start(b"by ").session_id, 3)
        commit = files.CommitInfo("/sdk/shared/session")
        put = dbx.files_upload_session_finish(b"session", cursor, commit)
        again = dbx.files_upload_session_finish(b"session", cursor, commit)
        assert put.rev == again.rev and put.sharing_info.parent_shared_folder_id
        assert dbx.files_download("/sdk/shared/session")[1].content == b"by session"

    @flow
    def file_behind_a_link():
        dbx.files_upload(b"linked", "/sdk/linked.txt")
        made = dbx.sharing_create_shared_link_with_settings("/sdk/linked.txt")
        metadata, response = dbx.sharing_get_shared_link_file(made.url)
        assert isinstance(metadata, sharing.FileLinkMetadata) and response.content == b"linked"
        dbx.sharing_revoke_shared_link(made.url)
        error = refused(exceptions.ApiError, dbx.sharing_get_shared_link_file, made.url).error
        assert error.is_shared_link_not_found()

    @flow
    def link_with_a_password():
        dbx.files_upload(b"guarded", "/sdk/guarded.txt")
        made = dbx.sharing_create_shared_link_with_settings("/sdk/guarded.txt")
        settings = sharing.SharedLinkSettings(require_password=True, link_password="secret")
        changed = dbx.sharing_modify_shared_link_settings(made.url, settings)
        assert changed.url == made.url and changed.name == "guarded.txt"
        seen = dbx.sharing_get_shared_link_metadata(made.url, link_password="secret")
        assert isinstance(seen, sharing.FileLinkMetadata) and seen.size == 7

    @flow
    def temporary_link():
        dbx.files_upload(b"for a while", "/sdk/while.txt")
        given = dbx.files_get_temporary_link("/sdk/while.txt")
        assert given.metadata.name == "while.txt"
        answer = requests.get(given.link, timeout=30)
        assert answer.status_code == 200 and answer.content == b"for a while"

else:
    print("  SKIPPED content: no content host behind this gateway")


@flow
def revoked_token():
    fresh = dropbox.Dropbox(oauth2_refresh_token=REFRESH, app_key="any")
    fresh.users_get_current_account()
    token = fresh._oauth2_access_token
    fresh.auth_token_revoke()
    refused(exceptions.AuthError, dropbox.Dropbox(token).users_get_current_account)


dbx.files_delete_v2("/sdk")
print("  %d flows with the Python SDK %s" % (len(done), dropbox.__version__ if hasattr(dropbox, "__version__") else ""))
sys.exit(0)
