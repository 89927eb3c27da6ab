//! The routes of the content host, and those of the api host that are about upload sessions.
//!
//! What they mean is in [`crate::content`]; here arguments become calls and ends become answers. Shapes and errors:
//! docs/design/gateway.md and blocks.md.

mod args;
mod batch;
mod downloads;
mod ends;
mod given;
mod host;
mod streams;
mod uploads;

use std::sync::Arc;

use axum::Router;
use stone::{Call, Handler, Host, Needs, Route, Scope, Stone, Style};

pub(crate) use host::ContentHost;

use crate::content::{Content, Sessions};
use crate::store::BlockStore;

/// A future in a box, as a table wants it.
macro_rules! boxed {
    ($handler:path) => {
        |call: Call, state| Box::pin($handler(call, state))
    };
}

const fn content(name: &'static str, style: Style, scope: Scope, handler: Handler<Content>) -> Route<Content> {
    Route { name, host: Host::Content, style, needs: Needs::User, scope: Some(scope), is_long: true, handler }
}

const fn api(name: &'static str, handler: Handler<Sessions>) -> Route<Sessions> {
    let scope = Some(Scope::FilesContentWrite);
    Route { name, host: Host::Api, style: Style::Rpc, needs: Needs::User, scope, is_long: true, handler }
}

/// The routes of the content host.
pub static CONTENT_ROUTES: &[Route<Content>] = &[
    content("files/upload", Style::Upload, Scope::FilesContentWrite, boxed!(uploads::upload)),
    content("files/upload_session/start", Style::Upload, Scope::FilesContentWrite, boxed!(uploads::start)),
    content("files/upload_session/append", Style::Upload, Scope::FilesContentWrite, boxed!(uploads::append)),
    content("files/upload_session/append_v2", Style::Upload, Scope::FilesContentWrite, boxed!(uploads::append_v2)),
    content("files/upload_session/finish", Style::Upload, Scope::FilesContentWrite, boxed!(uploads::finish)),
    content("files/download", Style::Download, Scope::FilesContentRead, boxed!(downloads::download)),
    content("files/export", Style::Download, Scope::FilesContentRead, boxed!(downloads::export)),
    Route {
        name: "sharing/get_shared_link_file",
        host: Host::Content,
        style: Style::Download,
        needs: Needs::UserOrApp,
        scope: Some(Scope::SharingRead),
        is_long: true,
        handler: boxed!(downloads::get_shared_link_file),
    },
];

/// The routes of the api host that are about upload sessions: no content passes there.
pub static API_ROUTES: &[Route<Sessions>] = &[
    api("files/upload_session/start_batch", boxed!(batch::start)),
    api("files/upload_session/finish_batch", boxed!(batch::finish)),
    api("files/upload_session/finish_batch_v2", boxed!(batch::finish_v2)),
    api("files/upload_session/finish_batch/check", boxed!(batch::check)),
];

/// The engine of a process, over its cluster and keys.
#[must_use]
pub fn content_of(stone: &Stone, store: BlockStore) -> Content {
    Content::new(store, Arc::clone(&stone.meta), Arc::clone(&stone.keys))
}

/// Everything, for a process that is all hosts in one. Without a fallback.
pub fn all_routes(stone: &Arc<Stone>, store: BlockStore) -> Router {
    let content = content_of(stone, store);
    router(stone, &content).merge(api_router(stone, content.sessions()))
}

/// What an api host needs of upload sessions, without a store. Without a fallback.
pub fn session_routes(stone: &Arc<Stone>) -> Router {
    api_router(stone, &Sessions::new(Arc::clone(&stone.meta), Arc::clone(&stone.keys)))
}

/// The content host. Without a fallback, so that it can be merged with other tables.
pub fn router(stone: &Arc<Stone>, content: &Content) -> Router {
    stone::router(CONTENT_ROUTES, stone, content).merge(given::routes(stone, content))
}

/// The routes of the api host. Without a fallback.
pub fn api_router(stone: &Arc<Stone>, sessions: &Sessions) -> Router {
    stone::router(API_ROUTES, stone, sessions)
}
