"""The web page in headless Chromium: mouse and keyboard, light and dark, wide and narrow, with a second writer beside.

Called with a directory for its own files. Pictures go to DROPSTONE_PICTURES, or to that directory.
"""

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
import urllib.request

from playwright.sync_api import Error, expect, sync_playwright

URL = os.environ["DROPSTONE_URL"]
TOKEN = os.environ["DROPSTONE_TOKEN"]
HERE = sys.argv[1]
PICTURES = os.environ.get("DROPSTONE_PICTURES") or os.path.join(HERE, "pictures")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
BINARY = os.environ.get("DROPSTONE_BINARY")
TLS = ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])
expect.set_options(timeout=60_000)
flows = []


def flow(function):
    """Notes a flow; they run in order, and the first failure ends all."""
    flows.append(function)
    return function


def call(route, arg, content=None):
    """The second writer: a route of the API, without a browser."""
    headers = {"Authorization": "Bearer " + TOKEN}
    if content is None:
        headers["Content-Type"], data = "application/json", json.dumps(arg).encode()
    else:
        headers["Content-Type"], data = "application/octet-stream", content
        headers["Dropbox-API-Arg"] = json.dumps(arg)
    request = urllib.request.Request(URL + "/2/" + route, data, headers)
    return json.loads(urllib.request.urlopen(request, context=TLS, timeout=60).read())


def put(path, content, mode="add"):
    return call("files/upload", {"path": path, "mode": mode}, content)


def fetch(path):
    """The content of a file, as the API gives it."""
    request = urllib.request.Request(URL + "/2/files/download", b"", {
        "Authorization": "Bearer " + TOKEN, "Dropbox-API-Arg": json.dumps({"path": path})})
    return urllib.request.urlopen(request, context=TLS, timeout=60).read()


def row(page, name):
    """The row of a name; hidden ones of other folders do not exist."""
    return page.locator("#rows .row").filter(has=page.locator(".text", has_text=re.compile("^%s$" % re.escape(name))))


def go(page, path=""):
    page.goto("%s/#%s" % (URL, path or "/"))
    expect(page.locator("#crumbs [aria-current=page]")).to_have_text(path.rsplit("/", 1)[-1] or "Files")
    expect(page.locator("#state.loading")).to_be_hidden()


def picture(page, name):
    page.wait_for_timeout(250)
    page.screenshot(path=os.path.join(PICTURES, "web-%s.png" % name), timeout=120_000)


def drop(page, selector, files):
    """Drops files as a hand would: the events of a drag, with a DataTransfer that has them."""
    transfer = page.evaluate_handle("""(files) => {
        const transfer = new DataTransfer();
        for (const [name, text] of files) transfer.items.add(new File([text], name, { type: "text/plain" }));
        return transfer;
    }""", files)
    for event in ("dragenter", "dragover"):
        page.dispatch_event(selector, event, {"dataTransfer": transfer})
    seen = page.locator("#drop").is_visible()
    page.dispatch_event(selector, "drop", {"dataTransfer": transfer})
    return seen


def uploaded(page, count):
    expect(page.locator("#uploads-title")).to_have_text("%d file%s uploaded" % (count, "" if count == 1 else "s"), timeout=180_000)
    page.locator("#uploads").get_by_role("button", name="Close").click()
    expect(page.locator("#uploads")).to_be_hidden()


@flow
def the_page_is_strict_about_what_it_runs(page, _):
    answer = urllib.request.urlopen(urllib.request.Request(URL + "/"), context=TLS)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "require-trusted-types-for 'script'" in policy, policy
    assert "unsafe" not in policy and answer.headers["x-content-type-options"] == "nosniff"
    tag = answer.headers["etag"]
    try:
        urllib.request.urlopen(urllib.request.Request(URL + "/", headers={"If-None-Match": tag}), context=TLS)
        raise AssertionError("the page was sent again")
    except urllib.error.HTTPError as known:
        assert known.code == 304


@flow
def a_bad_token_is_told_and_a_good_one_signs_in(page, _):
    page.goto(URL)
    expect(page.get_by_role("heading", name="Dropstone")).to_be_visible()
    picture(page, "sign-in")
    page.get_by_label("Access token").fill("sl.nonsense")
    page.get_by_role("button", name="Use token").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    page.get_by_label("Access token").fill(TOKEN)
    page.get_by_role("button", name="Use token").click()
    expect(page.get_by_role("heading", name="Nothing here yet")).to_be_visible()
    picture(page, "empty")
    page.reload()
    expect(page.get_by_role("heading", name="Nothing here yet")).to_be_visible()


@flow
def files_are_dropped_and_chosen(page, _):
    assert drop(page, "body", [["notes.txt", "first words"], ["plan.md", "# Plan"]]), "the page shows where a drop goes"
    uploaded(page, 2)
    expect(row(page, "notes.txt")).to_be_visible()
    assert fetch("/notes.txt") == b"first words" and fetch("/plan.md") == b"# Plan"
    page.get_by_role("button", name="New folder").click()
    page.get_by_label("Name").fill("Letters")
    page.keyboard.press("Enter")
    expect(row(page, "Letters")).to_have_attribute("aria-selected", "true")
    drop(page, "#rows .row.folder .text", [["inside.txt", "in a folder"]])
    uploaded(page, 1)
    assert fetch("/Letters/inside.txt") == b"in a folder"
    with page.expect_file_chooser() as chooser:
        page.locator("#upload").click()
        page.get_by_role("menuitem", name="Files").click()
    small = os.path.join(HERE, "grüße ☃.txt")
    with open(small, "w", encoding="utf-8") as file:
        file.write("hello")
    chooser.value.set_files(small)
    uploaded(page, 1)
    assert fetch("/grüße ☃.txt") == b"hello"


@flow
def a_name_that_is_taken_is_asked_about(page, _):
    drop(page, "body", [["notes.txt", "second words"]])
    expect(page.get_by_role("dialog")).to_contain_text("in this folder already")
    page.get_by_role("button", name="Replace").click()
    uploaded(page, 1)
    assert fetch("/notes.txt") == b"second words"
    drop(page, "body", [["notes.txt", "other words"]])
    page.get_by_role("button", name="Keep both").click()
    uploaded(page, 1)
    expect(row(page, "notes (1).txt")).to_be_visible()
    assert fetch("/notes.txt") == b"second words"


@flow
def a_large_file_goes_in_parts_and_goes_on_after_an_error(page, _):
    large = os.path.join(HERE, "large.bin")
    block = bytes(range(256)) * 4096
    with open(large, "wb") as file:
        for n in range(45):
            file.write(n.to_bytes(4, "little") + block[4:])
    seen, failed = [], []

    def pass_on(route):
        arg = json.loads(route.request.headers["dropbox-api-arg"])
        seen.append(arg["cursor"]["offset"])
        if len(seen) in (2, 5):
            failed.append(arg["cursor"]["offset"])
            return route.abort("connectionreset")
        return route.continue_()

    page.route("**/upload_session/append_v2", pass_on)
    page.set_input_files("#pick-files", large)
    expect(page.locator("#uploads progress").first).to_be_visible()
    picture(page, "upload")
    uploaded(page, 1)
    page.unroute("**/upload_session/append_v2")
    assert len(failed) == 2 and sorted(set(seen)) == [part * 8 << 20 for part in range(6)], seen
    assert len(seen) == 8, "only the parts that failed went twice: %s" % seen
    with open(large, "rb") as file:
        assert fetch("/large.bin") == file.read()
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('dropstone-session:')).length") == 0


@flow
def an_upload_goes_on_after_the_page_was_closed(page, context):
    other = os.path.join(HERE, "resumed.bin")
    with open(other, "wb") as file:
        for n in range(33):
            file.write(bytes([n]) * (1 << 20))
    first = context.new_page()
    first.add_init_script("sessionStorage.setItem('dropstone-token', %s)" % json.dumps(TOKEN))
    seen = []

    def hold(route):
        offset = json.loads(route.request.headers["dropbox-api-arg"])["cursor"]["offset"]
        seen.append(offset)
        return route.abort("connectionreset") if len(seen) > 2 else route.continue_()

    first.route("**/upload_session/append_v2", hold)
    go(first)
    first.set_input_files("#pick-files", other)
    expect(first.locator("#uploads")).to_contain_text("Waiting for the connection")
    kept = "JSON.parse(localStorage.getItem(Object.keys(localStorage).find((key) => key.startsWith('dropstone-session:'))))"
    first.wait_for_function("%s?.parts.length === 2" % kept)
    there = {part * 8 << 20 for part in first.evaluate("%s.parts" % kept)}
    first.close(run_before_unload=False)
    again = []
    page.route("**/upload_session/append_v2", lambda route: (again.append(
        json.loads(route.request.headers["dropbox-api-arg"])["cursor"]["offset"]), route.continue_()))
    page.set_input_files("#pick-files", other)
    uploaded(page, 1)
    page.unroute("**/upload_session/append_v2")
    assert sorted(again) == sorted({part * 8 << 20 for part in range(5)} - there), (again, there)
    with open(other, "rb") as file:
        assert fetch("/resumed.bin") == file.read()


@flow
def what_another_writer_does_is_seen_at_once(page, _):
    put("/from elsewhere.txt", b"x")
    expect(row(page, "from elsewhere.txt")).to_be_visible(timeout=20_000)
    call("files/move_v2", {"from_path": "/from elsewhere.txt", "to_path": "/renamed elsewhere.txt"})
    expect(row(page, "renamed elsewhere.txt")).to_be_visible(timeout=20_000)
    expect(row(page, "from elsewhere.txt")).to_have_count(0)
    call("files/delete_v2", {"path": "/renamed elsewhere.txt"})
    expect(row(page, "renamed elsewhere.txt")).to_have_count(0, timeout=20_000)


@flow
def a_file_is_shown_and_saved(page, _):
    row(page, "notes.txt").locator(".text").click()
    expect(page.get_by_role("dialog").locator("pre")).to_have_text("second words")
    with page.expect_download() as saved:
        page.get_by_role("dialog").get_by_role("button", name="Download").click()
    assert saved.value.suggested_filename == "notes.txt"
    with open(saved.value.path(), "rb") as file:
        assert file.read() == b"second words"
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


@flow
def the_history_is_told_and_an_old_version_comes_back(page, _):
    row(page, "notes.txt").locator(".size").click()
    page.locator("#toolbar").get_by_role("button", name="History").click()
    expect(page.locator(".revisions li")).to_have_count(2)
    picture(page, "history")
    page.locator(".revisions").get_by_role("button", name="Restore").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert fetch("/notes.txt") == b"first words"


@flow
def a_deleted_file_is_found_and_restored(page, _):
    row(page, "plan.md").locator(".size").click()
    page.keyboard.press("Delete")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row(page, "plan.md")).to_have_count(0)
    page.get_by_role("button", name="Account").click()
    page.get_by_role("menuitem", name="Show deleted files").click()
    row(page, "plan.md").locator(".size").click()
    page.locator("#toolbar").get_by_role("button", name="Restore").click()
    page.locator(".revisions").get_by_role("button", name="Restore").click()
    expect(page.locator("#rows .row.file").filter(has_text="plan.md")).to_be_visible()
    assert fetch("/plan.md") == b"# Plan"
    page.get_by_role("button", name="Account").click()
    page.get_by_role("menuitem", name="Hide deleted files").click()
    expect(page.locator("#rows .row.deleted")).to_have_count(0)


@flow
def files_are_renamed_moved_and_copied(page, _):
    row(page, "notes (1).txt").locator(".size").click()
    page.locator("#toolbar").get_by_role("button", name="Rename").click()
    page.get_by_label("New name").fill("a/b")
    page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    expect(page.get_by_role("alert").filter(has_text="no /")).to_be_visible()
    page.get_by_label("New name").fill("notes.txt")
    page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    expect(page.get_by_role("alert").filter(has_text="already")).to_be_visible()
    page.get_by_label("New name").fill("other notes.txt")
    page.keyboard.press("Enter")
    expect(row(page, "other notes.txt")).to_be_visible()
    page.locator("#toolbar").get_by_role("button", name="Move").click()
    page.locator(".pick").get_by_role("button", name="Letters").click()
    picture(page, "move")
    page.get_by_role("button", name="Move here").click()
    expect(row(page, "other notes.txt")).to_have_count(0)
    assert fetch("/Letters/other notes.txt") == b"other words"


@flow
def a_link_is_made_and_shows_the_file_to_strangers(page, context):
    row(page, "notes.txt").locator(".size").click()
    page.locator("#toolbar").get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Make a link").click()
    url = page.get_by_label("Link", exact=True).input_value()
    assert url.startswith(URL + "/s/"), url
    stranger = context.browser.new_context(ignore_https_errors=True).new_page()
    stranger.goto(url)
    expect(stranger.get_by_role("heading", name="notes.txt")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_role("button", name="Make a link")).to_be_visible()
    stranger.reload()
    expect(stranger.get_by_role("heading", name="Nothing here")).to_be_visible()
    stranger.context.close()
    page.keyboard.press("Escape")


@flow
def a_link_with_a_password_asks_for_it(page, context):
    put("/holiday.txt", b"sunny all week")
    row(page, "holiday.txt").locator(".size").click()
    page.locator("#toolbar").get_by_role("button", name="Share").click()
    page.get_by_label("Password (optional)").fill("beach & sun")
    page.get_by_label("Ends").select_option("7")
    page.get_by_role("button", name="Make a link").click()
    expect(page.locator(".links .badge").first).to_have_text("Password")
    picture(page, "share")
    url = page.get_by_label("Link", exact=True).input_value()
    stranger = context.browser.new_context(ignore_https_errors=True, accept_downloads=True,
                                           viewport={"width": 900, "height": 640}).new_page()
    stranger.goto(url)
    stranger.get_by_label("Password").fill("mountain")
    stranger.get_by_role("button", name="Open").click()
    expect(stranger.get_by_role("alert")).to_contain_text("not the password")
    picture(stranger, "link-locked")
    stranger.get_by_label("Password").fill("beach & sun")
    stranger.keyboard.press("Enter")
    expect(stranger.get_by_role("heading", name="holiday.txt")).to_be_visible()
    expect(stranger.frame_locator("iframe").locator("body")).to_contain_text("sunny all week")
    picture(stranger, "link")
    with stranger.expect_download() as saved:
        stranger.get_by_role("link", name="Download").click()
    with open(saved.value.path(), "rb") as file:
        assert file.read() == b"sunny all week"
    stranger.context.close()
    page.keyboard.press("Escape")


@flow
def a_link_to_a_folder_shows_what_is_in_it(page, context):
    put("/Trip/day 1/<b>bold<b>.txt", b"x")
    url = call("sharing/create_shared_link_with_settings", {"path": "/Trip"})["url"]
    stranger = context.browser.new_context(ignore_https_errors=True, viewport={"width": 900, "height": 640}).new_page()
    stranger.goto(url)
    stranger.get_by_role("link", name="day 1").click()
    stranger.get_by_role("link", name="<b>bold<b>.txt").click()
    expect(stranger.get_by_role("heading", name="<b>bold<b>.txt")).to_be_visible()
    stranger.get_by_role("link", name="Folder above").click()
    expect(stranger.get_by_role("link", name="<b>bold<b>.txt")).to_be_visible()
    stranger.context.close()


@flow
def hostile_names_are_only_text(page, _):
    names = ["<img src=x onerror=alert(1)>.txt", "\u202egpj.exe", "'\"&amp;<b>.md", "javascript:alert(1)", "%2e%2e"]
    for name in names:
        if "/" not in name:
            put("/Letters/" + name, b"x")
    go(page, "/Letters")
    for name in names:
        expect(row(page, name)).to_have_count(1)
    assert page.locator("#rows img, #rows b, #rows script").count() == 0
    row(page, "'\"&amp;<b>.md").locator(".text").click()
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text("'\"&amp;<b>.md")
    page.keyboard.press("Escape")
    call("files/create_folder_v2", {"path": "/Letters/<i>&%2f #? folder"})
    row(page, "<i>&%2f #? folder").locator(".text").click()
    expect(page.locator("#crumbs [aria-current=page]")).to_have_text("<i>&%2f #? folder")
    expect(page.get_by_role("heading", name="This folder is empty")).to_be_visible()
    go(page)


@flow
def everything_can_be_done_by_keyboard(page, _):
    call("files/create_folder_v2", {"path": "/Keys"})
    expect(row(page, "Keys")).to_be_visible()
    page.locator("#here").focus()
    names = []
    for _ in range(14):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        if names[-1] == "grid":
            break
    assert "upload" in names and "new-folder" in names and names[-1] == "grid", names
    outline = page.evaluate("getComputedStyle(document.getElementById('grid')).boxShadow")
    assert outline != "none", "the focus is seen"
    page.keyboard.type("keys")
    active = page.evaluate("document.getElementById(document.getElementById('grid').getAttribute('aria-activedescendant')).textContent")
    assert "Keys" in active, active
    page.keyboard.press("Enter")
    expect(page.locator("#crumbs [aria-current=page]")).to_have_text("Keys")
    page.keyboard.press("Backspace")
    expect(row(page, "Keys")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("F2")
    page.keyboard.type("Renamed by keys")
    page.keyboard.press("Enter")
    expect(row(page, "Renamed by keys")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Shift+F10")
    expect(page.get_by_role("menu")).to_be_visible()
    picture(page, "menu")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Delete")
    page.keyboard.press("Enter")
    expect(row(page, "Renamed by keys")).to_have_count(0)
    page.keyboard.press("Control+a")
    expect(page.locator("#status")).to_contain_text("chosen")
    page.keyboard.press("Escape")
    expect(page.locator("#rows .row[aria-selected=true]")).to_have_count(0)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog").get_by_role("heading", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")


@flow
def many_thousand_entries_are_listed_without_a_freeze(page, _):
    paths = ["/Many/%s %05d" % (kind, n) for kind in ("Folder",) for n in range(12_000)]
    for at in range(0, len(paths), 4_000):
        call("files/create_folder_batch", {"paths": paths[at:at + 4_000]})
    page.evaluate("""() => { window.longest = 0; let last = performance.now();
        const tick = () => { const now = performance.now(); window.longest = Math.max(window.longest, now - last); last = now;
            requestAnimationFrame(tick); }; tick(); }""")
    row(page, "Many").locator(".text").click()
    expect(page.locator("#status")).to_have_text("12,000 items", timeout=180_000)
    assert page.locator("#rows .row").count() < 100, "only rows in sight are elements"
    page.locator("#grid").focus()
    page.keyboard.press("End")
    expect(row(page, "Folder 11999")).to_be_visible()
    page.get_by_label("Filter this folder").fill("0777")
    expect(page.locator("#status")).to_have_text("12 items")
    page.get_by_label("Filter this folder").fill("")
    print("    the longest frame took %d ms" % page.evaluate("window.longest"))
    picture(page, "many")
    go(page)


@flow
def a_lost_connection_is_told_and_found_again(page, context):
    context.set_offline(True)
    expect(page.locator("#offline")).to_be_visible(timeout=60_000)
    picture(page, "offline")
    put("/while away.txt", b"x")
    context.set_offline(False)
    page.get_by_role("button", name="Try now").click() if page.locator("#offline").is_visible() else None
    expect(row(page, "while away.txt")).to_be_visible(timeout=60_000)
    expect(page.locator("#offline")).to_be_hidden()


@flow
def it_is_whole_in_dark_and_at_360_pixels(page, _):
    for name in ("Pictures", "Invoices 2026", "Music"):
        call("files/create_folder_v2", {"path": "/" + name})
    put("/holiday.jpg", b"\xff" * 2_400_000)
    put("/budget.csv", b"a,b\n" * 2_000)
    put("/interview.mp3", b"\x00" * 8_100_000)
    put("/a file with a rather long name that does not fit into a narrow column at all.pdf", b"%PDF" * 90_000)
    go(page)
    expect(row(page, "interview.mp3")).to_be_visible()
    row(page, "holiday.jpg").locator(".size").click()
    expect(page.locator(".toast")).to_have_count(0)
    picture(page, "light")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 20, 23)"
    picture(page, "dark")
    page.set_viewport_size({"width": 360, "height": 680})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360, "nothing is wider than the screen"
    for name in ("Delete", "Share", "Rename"):
        expect(page.locator("#toolbar").get_by_role("button", name=name)).to_have_count(1)
    picture(page, "narrow")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1180, "height": 760})


@flow
def signing_out_forgets_the_token(page, _):
    page.get_by_role("button", name="Account").click()
    page.get_by_role("menuitem", name=re.compile("Sign out")).click()
    expect(page.get_by_label("Access token")).to_be_visible()
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    page.reload()
    expect(page.get_by_label("Access token")).to_be_visible()


def run(*arguments, text=None):
    """A command of our binary, against the cluster of the suite."""
    target = "127.0.0.1:%d" % (int(URL.rsplit(":", 1)[1]) - 343)
    return subprocess.run([BINARY, *arguments, "--target", target], input=text, text=True, check=True, capture_output=True)


@flow
def an_account_signs_in_with_its_password(page, context):
    if BINARY is None or shutil.which("openssl") is None:
        print("    SKIPPED: no binary of ours, or no openssl, to run a second gateway with")
        return
    leaf, key, config = (os.path.join(HERE, name) for name in ("leaf.pem", "leaf.key", "gateway.toml"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", leaf], check=True, capture_output=True)
    port = int(URL.rsplit(":", 1)[1]) - 1
    other = "https://localhost:%d" % port
    with open(config, "w", encoding="utf-8") as file:
        file.write('[gateway]\nlisten = "127.0.0.1:%d"\nwww = "%s"\ncontent = "%s"\ntargets = ["127.0.0.1:%d"]\n'
                   'server_id = 9\nsecret_file = "%s"\ncertificate = "%s"\nkey = "%s"\n' % (
                       port, other, URL, port - 342, os.path.join(os.path.dirname(os.environ["REQUESTS_CA_BUNDLE"]), "secret"),
                       leaf, key))
    run("account", "create", "ada")
    run("account", "set", "ada", "--email", "ada@example.com", "--given", "Ada", "--surname", "Lovelace",
        "--password-file", "-", text="analytical engine\n")
    run("admin", "app", "add", "notes", "--name", "Notebook")
    gateway = subprocess.Popen([BINARY, "gateway", "--log", "error", "--config", config])
    try:
        for _ in range(300):
            try:
                page.goto(other)
                break
            except Error:
                time.sleep(0.1)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_label("E-mail address").fill("ada@example.com")
        page.get_by_label("Password").fill("difference engine")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("not right")
        picture(page, "password")
        page.get_by_label("Password").fill("analytical engine")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Nothing here yet")).to_be_visible()
        assert page.url == other + "/", "no code stays in the address: %s" % page.url
        # Content is on another host than the page.
        drop(page, "body", [["from ada.txt", "to another host"]])
        uploaded(page, 1)
        row(page, "from ada.txt").locator(".text").click()
        expect(page.get_by_role("dialog").locator("pre")).to_have_text("to another host")
        page.goto(other + "/oauth2/authorize?response_type=code&client_id=notes&scope=files.metadata.read%20files.content.read"
                  "&code_challenge=" + "A" * 43 + "&code_challenge_method=S256")
        page.get_by_label("E-mail address").fill("ada@example.com")
        page.get_by_label("Password").fill("analytical engine")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Let Notebook in?")).to_be_visible()
        picture(page, "consent")
        page.get_by_role("button", name="Allow").click()
        expect(page.locator("#code")).to_be_visible()
    finally:
        gateway.kill()
        gateway.wait()


def main():
    if CHROMIUM is None:
        print("  SKIPPED web: there is no Chromium here (Debian package chromium)")
        return
    os.makedirs(PICTURES, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(ignore_https_errors=True, viewport={"width": 1180, "height": 760}, locale="en-GB",
                                      color_scheme="light", accept_downloads=True)
        context.set_default_timeout(60_000)
        page = context.new_page()
        wrong = []
        page.on("pageerror", lambda error: wrong.append("page error: %s" % error))
        page.on("dialog", lambda dialog: (wrong.append("a dialog: %s" % dialog.message), dialog.dismiss()))
        page.on("console", lambda said: wrong.append("console: " + said.text)
                if "Content Security Policy" in said.text or "TrustedHTML" in said.text else None)
        only = sys.argv[2:]
        for function in flows:
            if only and function.__name__ not in only:
                continue
            print("  flow", function.__name__.replace("_", " "), flush=True)
            began = time.monotonic()
            try:
                function(page, context)
            except (AssertionError, Error):
                page.screenshot(path=os.path.join(PICTURES, "failure.png"))
                print("    failed after %.1f s; errors of the page: %s" % (time.monotonic() - began, wrong), flush=True)
                raise
            assert not wrong, wrong
        browser.close()
    print("  %d flows in Chromium" % len(flows))


main()
