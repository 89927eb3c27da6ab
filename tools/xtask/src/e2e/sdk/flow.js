// The unmodified JS SDK against `dropstone dev`: each version does all flows, in a folder of its own.

'use strict';

const assert = require('assert');
const crypto = require('crypto');

const HOST = process.env.DROPBOX_API_HOST;
const TOKEN = process.env.DROPSTONE_TOKEN;
const REFRESH = process.env.DROPBOX_REFRESH_TOKEN;
const MIB = 1024 * 1024;

/** Every host is this one: the options that the SDK has for tests. */
const WHERE = { domain: HOST, domainDelimiter: '' };

/** The SDK asks `api-HOST` and `meta-HOST` for tokens, whatever the delimiter is. */
function oneHost(url, options) {
  return fetch(url.replace(/^https:\/\/(api|meta)-/, 'https://'), options);
}

/** The error that a call must end with, as the SDK gives it. */
async function refused(status, call) {
  try {
    await call;
  } catch (error) {
    assert.strictEqual(error.status, status, error);
    return error.error;
  }
  throw new assert.AssertionError({ message: 'it was not refused' });
}

/** The summary of a route's own error, without its dots. */
async function summary(call) {
  return (await refused(409, call)).error_summary.replace(/\/\.*$/, '');
}

/** All flows with one version of the SDK; `root` is where their files are. */
function flows({ Dropbox, DropboxAuth }, root) {
  const dbx = new Dropbox({ accessToken: TOKEN, ...WHERE });
  const result = async (call) => (await call).result;
  const upload = (path, contents, more) => result(dbx.filesUpload({ path: root + path, contents, ...more }));
  const download = (path) => result(dbx.filesDownload({ path }));
  const startWith = (contents, more) => result(dbx.filesUploadSessionStart({ contents, ...more }));

  return {
    async 'account and space'() {
      const account = await result(dbx.usersGetCurrentAccount());
      assert.strictEqual(account.account_id.length, 40);
      assert.strictEqual(account.root_info['.tag'], 'user');
      const known = await result(dbx.usersGetAccount({ account_id: account.account_id }));
      assert.strictEqual(known.is_teammate, false);
      const space = await result(dbx.usersGetSpaceUsage());
      assert.strictEqual(space.allocation['.tag'], 'individual');
      assert.strictEqual((await result(dbx.checkUser({ query: 'hello' }))).result, 'hello');
      const app = new Dropbox({ clientId: 'key', clientSecret: 'secret', ...WHERE });
      assert.strictEqual((await result(app.checkApp({ query: 'hello' }))).result, 'hello');
    },

    async 'a code becomes tokens, which are refreshed and revoked'() {
      const auth = new DropboxAuth({ clientId: 'any', fetch: oneHost, ...WHERE });
      const url = await auth.getAuthenticationUrl(undefined, undefined, 'code', 'offline', undefined, undefined, true);
      const page = await (await oneHost(url)).text();
      const code = page.match(/<code id="code">([^<]+)</)[1];
      const granted = await result(auth.getAccessTokenFromCode(undefined, code));
      assert(granted.uid && granted.account_id && granted.refresh_token);
      const other = new Dropbox({ refreshToken: granted.refresh_token, clientId: 'any', fetch: oneHost, ...WHERE });
      const account = await result(other.usersGetCurrentAccount());
      assert.strictEqual(account.account_id, granted.account_id);
      const token = other.auth.getAccessToken();
      await other.authTokenRevoke();
      const late = new Dropbox({ accessToken: token, ...WHERE });
      const error = await refused(401, late.usersGetCurrentAccount());
      assert.strictEqual(error.error['.tag'], 'invalid_access_token');
      const operator = new Dropbox({ refreshToken: REFRESH, clientId: 'any', fetch: oneHost, ...WHERE });
      assert.strictEqual((await result(operator.usersGetCurrentAccount())).account_id, account.account_id);
    },

    async folders() {
      const made = (await result(dbx.filesCreateFolderV2({ path: `${root}/Folder` }))).metadata;
      assert.strictEqual(made.path_lower, `${root}/folder`);
      assert.strictEqual(await summary(dbx.filesCreateFolderV2({ path: `${root}/FOLDER` })), 'path/conflict/folder');
      const again = (await result(dbx.filesCreateFolderV2({ path: `${root}/folder`, autorename: true }))).metadata;
      const moved = await result(dbx.filesMoveV2({ from_path: again.path_lower, to_path: `${root}/moved` }));
      assert.strictEqual(moved.metadata.id, again.id);
      const copied = await result(dbx.filesCopyV2({ from_path: `${root}/moved`, to_path: `${root}/copied` }));
      assert.notStrictEqual(copied.metadata.id, again.id);
      const gone = await result(dbx.filesDeleteV2({ path: `${root}/copied` }));
      assert.strictEqual(gone.metadata['.tag'], 'folder');
      const dead = await result(dbx.filesGetMetadata({ path: `${root}/copied`, include_deleted: true }));
      assert.strictEqual(dead['.tag'], 'deleted');
      assert.strictEqual(await summary(dbx.filesGetMetadata({ path: `${root}/copied` })), 'path/not_found');
      assert.match(await refused(400, dbx.filesGetMetadata({ path: '' })), /root folder is unsupported/);
    },

    async 'the first versions of routes'() {
      const made = await result(dbx.filesCreateFolder({ path: `${root}/v1` }));
      const moved = await result(dbx.filesMove({ from_path: `${root}/v1`, to_path: `${root}/v1 moved` }));
      assert.deepStrictEqual([moved['.tag'], moved.id], ['folder', made.id]);
      await dbx.filesCopy({ from_path: `${root}/v1 moved`, to_path: `${root}/v1 copied` });
      const gone = await result(dbx.filesDelete({ path: `${root}/v1 copied` }));
      assert.deepStrictEqual([gone['.tag'], gone.name], ['folder', 'v1 copied']);
    },

    async batches() {
      const paths = [0, 1, 2].map((n) => `${root}/b${n}`);
      const made = await result(dbx.filesCreateFolderBatch({ paths: [...paths, '/bad\\'] }));
      assert.deepStrictEqual(made.entries.map((entry) => entry['.tag']), ['success', 'success', 'success', 'failure']);
      const job = await result(dbx.filesCreateFolderBatch({ paths: [`${root}/later`], force_async: true }));
      const done = await result(dbx.filesCreateFolderBatchCheck({ async_job_id: job.async_job_id }));
      assert.strictEqual(done.entries[0].metadata.name, 'later');
      const gone = await result(dbx.filesDeleteBatch({ entries: [{ path: `${root}/b0` }, { path: `${root}/none` }] }));
      assert.deepStrictEqual(gone.entries.map((entry) => entry['.tag']), ['success', 'failure']);
      assert.strictEqual(gone.entries[1].failure.path_lookup['.tag'], 'not_found');
      assert.strictEqual(await summary(dbx.filesDeleteBatchCheck({ async_job_id: 'none' })), 'invalid_async_job_id');
    },

    async 'listings, cursors, longpoll'() {
      let page = await result(dbx.filesListFolder({ path: '', recursive: true, limit: 2 }));
      const seen = page.entries.map((entry) => entry.path_lower);
      while (page.has_more) {
        page = await result(dbx.filesListFolderContinue({ cursor: page.cursor }));
        seen.push(...page.entries.map((entry) => entry.path_lower));
      }
      assert(seen.includes(`${root}/moved`) && seen.includes(`${root}/b1`), seen);
      assert.strictEqual(new Set(seen).size, seen.length);
      const wakes = result(dbx.filesListFolderLongpoll({ cursor: page.cursor, timeout: 30 }));
      await dbx.filesCreateFolderV2({ path: `${root}/wake` });
      assert.strictEqual((await wakes).changes, true);
      const changes = await result(dbx.filesListFolderContinue({ cursor: page.cursor }));
      assert(changes.entries.some((entry) => entry.path_lower === `${root}/wake`));
      const latest = await result(dbx.filesListFolderGetLatestCursor({ path: '', recursive: true }));
      assert.deepStrictEqual((await result(dbx.filesListFolderContinue(latest))).entries, []);
      await refused(400, dbx.filesListFolderContinue({ cursor: 'AAnone' }));
    },

    async 'path roots'() {
      const root_info = (await result(dbx.usersGetCurrentAccount())).root_info;
      const at = (pathRoot) => new Dropbox({ accessToken: TOKEN, pathRoot: JSON.stringify(pathRoot), ...WHERE });
      const own = at({ '.tag': 'root', root: root_info.root_namespace_id });
      assert((await result(own.filesListFolder({ path: '' }))).entries.length > 0);
      const wrong = at({ '.tag': 'namespace_id', namespace_id: '1234567890' });
      assert.strictEqual((await refused(422, wrong.filesListFolder({ path: '' }))).error['.tag'], 'no_permission');
    },

    async 'files, revisions, names beyond ASCII'() {
      const put = await upload('/ä ☃ 😀.txt', 'one');
      assert.deepStrictEqual([put.size, put.name], [3, 'ä ☃ 😀.txt']);
      const down = await download(put.path_lower);
      assert.deepStrictEqual([down.fileBinary.toString(), down.name, down.rev], ['one', put.name, put.rev]);
      const conflict = await refused(409, upload('/ä ☃ 😀.txt', 'two'));
      assert.strictEqual(conflict.error.reason.conflict['.tag'], 'file');
      const changed = await upload('/ä ☃ 😀.txt', 'three', { mode: { '.tag': 'update', update: put.rev } });
      assert.strictEqual(changed.id, put.id);
      const listed = await result(dbx.filesListRevisions({ path: put.path_lower }));
      assert.deepStrictEqual(listed.entries.map((entry) => entry.size), [5, 3]);
      assert.strictEqual((await result(dbx.filesRestore({ path: put.path_lower, rev: put.rev }))).size, 3);
      for (const path of [put.id, `rev:${put.rev}`]) {
        assert.strictEqual((await download(path)).fileBinary.toString(), 'one');
      }
      assert.strictEqual(await summary(upload('/x', 'x', { content_hash: '0'.repeat(64) })), 'content_hash_mismatch');
      assert.strictEqual(await summary(dbx.filesDownload({ path: `${root}/none` })), 'path/not_found');
      assert.strictEqual(await summary(dbx.filesExport({ path: put.path_lower })), 'non_exportable');
    },

    async 'upload sessions'() {
      const data = crypto.randomBytes(9 * MIB + 4321);
      const { session_id } = await startWith(data.subarray(0, 100));
      let offset = 100;
      for (const [append, size] of [['filesUploadSessionAppendV2', 4 * MIB], ['filesUploadSessionAppend', 184564]]) {
        const cursor = { session_id, offset };
        const contents = data.subarray(offset, offset + size);
        await dbx[append](append.endsWith('V2') ? { cursor, contents } : { ...cursor, contents });
        offset += size;
      }
      const wrong = { cursor: { session_id, offset: offset - 1 }, contents: 'x' };
      const late = await refused(409, dbx.filesUploadSessionAppendV2(wrong));
      assert.strictEqual(late.error.correct_offset, offset);
      const commit = { path: `${root}/session.bin` };
      const finish = { cursor: { session_id, offset }, commit, contents: data.subarray(offset) };
      const put = await result(dbx.filesUploadSessionFinish(finish));
      assert.strictEqual(put.size, data.length);
      assert(data.equals((await download(put.id)).fileBinary));
    },

    async 'batches of upload sessions'() {
      const { session_ids } = await result(dbx.filesUploadSessionStartBatch({ num_sessions: 2 }));
      const entries = [];
      for (const session_id of session_ids) {
        await dbx.filesUploadSessionAppendV2({ cursor: { session_id, offset: 0 }, close: true, contents: 'abc' });
        const commit = { path: `${root}/batch ${entries.length}`, mode: { '.tag': 'overwrite' } };
        entries.push({ cursor: { session_id, offset: 3 }, commit });
      }
      const told = await result(dbx.filesUploadSessionFinishBatchV2({ entries }));
      assert.deepStrictEqual(told.entries.map((entry) => entry.name), ['batch 0', 'batch 1']);
      const again = await result(dbx.filesUploadSessionFinishBatch({ entries }));
      assert.deepStrictEqual(again.entries.map((entry) => entry.rev), told.entries.map((entry) => entry.rev));
      const unknown = dbx.filesUploadSessionFinishBatchCheck({ async_job_id: 'none' });
      assert.strictEqual(await summary(unknown), 'invalid_async_job_id');
    },

    async links() {
      const put = await upload('/linked.txt', 'linked');
      const made = await result(dbx.sharingCreateSharedLinkWithSettings({ path: put.path_lower }));
      const file = await result(dbx.sharingGetSharedLinkFile({ url: made.url }));
      assert.deepStrictEqual([file['.tag'], file.fileBinary.toString()], ['file', 'linked']);
      const listed = await result(dbx.sharingListSharedLinks({ path: put.path_lower }));
      assert.deepStrictEqual(listed.links.map((link) => link.url), [made.url]);
      const again = await refused(409, dbx.sharingCreateSharedLinkWithSettings({ path: put.path_lower }));
      assert.strictEqual(again.error.shared_link_already_exists.metadata.url, made.url);
      assert.strictEqual((await fetch(made.url)).status, 200);
      await dbx.sharingRevokeSharedLink({ url: made.url });
      assert.strictEqual(await summary(dbx.sharingGetSharedLinkFile({ url: made.url })), 'shared_link_not_found');
    },

    async 'shared folders'() {
      const shared = await result(dbx.sharingShareFolder({ path: `${root}/shared` }));
      const id = { shared_folder_id: shared.shared_folder_id };
      const job = await result(dbx.sharingShareFolder({ path: `${root}/shared too`, force_async: true }));
      let status;
      do {
        status = await result(dbx.sharingCheckShareJobStatus(job));
      } while (status['.tag'] === 'in_progress');
      assert.strictEqual(status.name, 'shared too');
      let page = await result(dbx.sharingListFolders({ limit: 1 }));
      const seen = page.entries;
      while (page.cursor) {
        page = await result(dbx.sharingListFoldersContinue({ cursor: page.cursor }));
        seen.push(...page.entries);
      }
      assert(seen.some((folder) => folder.path_lower === `${root}/shared`));
      assert(seen.some((folder) => folder.shared_folder_id === status.shared_folder_id));
      assert.strictEqual((await result(dbx.sharingGetFolderMetadata(id))).name, 'shared');
      assert.strictEqual(await summary(dbx.sharingMountFolder(id)), 'already_mounted');
      await dbx.filesDeleteV2({ path: `${root}/shared` });
      assert.strictEqual((await result(dbx.sharingGetFolderMetadata(id))).path_lower, undefined);
      const mounted = await result(dbx.sharingMountFolder(id));
      await dbx.filesMoveV2({ from_path: mounted.path_lower, to_path: `${root}/shared` });
      assert.strictEqual((await result(dbx.sharingGetFolderMetadata(id))).path_lower, `${root}/shared`);
      assert.deepStrictEqual((await result(dbx.sharingListReceivedFiles({}))).entries, []);
      assert.strictEqual(await summary(dbx.sharingListReceivedFilesContinue({ cursor: 'x' })), 'invalid_cursor');
    },

    async 'all of it is deleted'() {
      for (const path of [`${root}/shared`, `${root}/shared too`, root]) {
        await dbx.filesDeleteV2({ path });
      }
      assert.strictEqual(await summary(dbx.filesListFolder({ path: root })), 'path/not_found');
    },
  };
}

async function main() {
  for (const name of ['dropbox-old', 'dropbox']) {
    const { version } = require(`${name}/package.json`);
    const all = Object.entries(flows(require(name), `/js ${version}`));
    for (const [flow, run] of all) {
      try {
        await run();
      } catch (error) {
        throw new Error(`flow ${flow} with ${version}: ${error.stack} ${JSON.stringify(error.error)}`);
      }
    }
    console.log(`  ${all.length} flows with the JS SDK ${version}: ${all.map(([flow]) => flow).join('; ')}`);
  }
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
