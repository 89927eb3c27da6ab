//! The routes of the gateway, row by row.

use stone::Scope::{
    AccountInfoRead, FilesContentRead, FilesContentWrite, FilesMetadataRead, SharingRead, SharingWrite,
};
use stone::{Handler, Host, Needs, Route, Scope, Style};

use crate::files::{batch, change, history, listing, look, relocate};
use crate::sharing::{folders, links, reached};
use crate::state::Shared;
use crate::users;

const fn row(name: &'static str, needs: Needs, scope: Option<Scope>, handler: Handler<Shared>) -> Route<Shared> {
    Route { name, host: Host::Api, style: Style::Rpc, needs, scope, is_long: false, handler }
}

const fn user(name: &'static str, scope: Scope, handler: Handler<Shared>) -> Route<Shared> {
    row(name, Needs::User, Some(scope), handler)
}

const fn either(name: &'static str, scope: Scope, handler: Handler<Shared>) -> Route<Shared> {
    row(name, Needs::UserOrApp, Some(scope), handler)
}

/// All of them.
pub static ROUTES: &[Route<Shared>] = &[
    // Tier A: files as SDKs use them.
    user("files/get_metadata", FilesMetadataRead, |call, state| Box::pin(look::get_metadata(call, state))),
    either("files/list_folder", FilesMetadataRead, |call, state| Box::pin(listing::list_folder(call, state))),
    either("files/list_folder/continue", FilesMetadataRead, |call, state| {
        Box::pin(listing::list_continue(call, state))
    }),
    user("files/list_folder/get_latest_cursor", FilesMetadataRead, |call, state| {
        Box::pin(listing::get_latest_cursor(call, state))
    }),
    user("files/create_folder", FilesContentWrite, |call, state| Box::pin(change::create_folder(call, state))),
    user("files/create_folder_v2", FilesContentWrite, |call, state| Box::pin(change::create_folder_v2(call, state))),
    user("files/delete", FilesContentWrite, |call, state| Box::pin(change::delete_v1(call, state))),
    user("files/delete_v2", FilesContentWrite, |call, state| Box::pin(change::delete_v2(call, state))),
    user("files/move", FilesContentWrite, |call, state| Box::pin(relocate::move_v1(call, state))),
    user("files/move_v2", FilesContentWrite, |call, state| Box::pin(relocate::move_v2(call, state))),
    user("files/copy", FilesContentWrite, |call, state| Box::pin(relocate::copy_v1(call, state))),
    user("files/copy_v2", FilesContentWrite, |call, state| Box::pin(relocate::copy_v2(call, state))),
    user("users/get_current_account", AccountInfoRead, |call, state| Box::pin(users::get_current_account(call, state))),
    user("users/get_space_usage", AccountInfoRead, |call, state| Box::pin(users::get_space_usage(call, state))),
    user("check/user", AccountInfoRead, |call, state| Box::pin(users::check(call, state))),
    row("check/app", Needs::App, None, |call, state| Box::pin(users::check(call, state))),
    // Tier B: what a sync client wants beside.
    user("files/create_folder_batch", FilesContentWrite, |call, state| {
        Box::pin(batch::create_folder_batch(call, state))
    }),
    user("files/create_folder_batch/check", FilesContentWrite, |call, state| Box::pin(batch::check(call, state))),
    user("files/delete_batch", FilesContentWrite, |call, state| Box::pin(batch::delete_batch(call, state))),
    user("files/delete_batch/check", FilesContentWrite, |call, state| Box::pin(batch::check(call, state))),
    user("files/list_revisions", FilesMetadataRead, |call, state| Box::pin(history::list_revisions(call, state))),
    user("files/get_temporary_link", FilesContentRead, |call, state| Box::pin(look::get_temporary_link(call, state))),
    user("files/restore", FilesContentWrite, |call, state| Box::pin(history::restore(call, state))),
    user("users/get_account", SharingRead, |call, state| Box::pin(users::get_account(call, state))),
    row("auth/token/revoke", Needs::User, None, |call, state| Box::pin(users::revoke(call, state))),
    user("sharing/create_shared_link_with_settings", SharingWrite, |call, state| Box::pin(links::create(call, state))),
    user("sharing/list_shared_links", SharingRead, |call, state| Box::pin(links::list(call, state))),
    user("sharing/modify_shared_link_settings", SharingWrite, |call, state| Box::pin(links::modify(call, state))),
    either("sharing/get_shared_link_metadata", SharingRead, |call, state| Box::pin(links::get_metadata(call, state))),
    user("sharing/revoke_shared_link", SharingWrite, |call, state| Box::pin(links::revoke(call, state))),
    user("sharing/share_folder", SharingWrite, |call, state| Box::pin(folders::share_folder(call, state))),
    user("sharing/check_share_job_status", SharingWrite, |call, state| {
        Box::pin(folders::check_share_job_status(call, state))
    }),
    // Tier C: shared folders as other clients look at them.
    user("sharing/list_folders", SharingRead, |call, state| Box::pin(reached::list_folders(call, state))),
    user("sharing/list_folders/continue", SharingRead, |call, state| {
        Box::pin(reached::list_folders_continue(call, state))
    }),
    user("sharing/get_folder_metadata", SharingRead, |call, state| Box::pin(reached::get_folder_metadata(call, state))),
    user("sharing/mount_folder", SharingWrite, |call, state| Box::pin(reached::mount_folder(call, state))),
    user("sharing/list_received_files", SharingRead, |call, state| Box::pin(reached::list_received_files(call, state))),
    user("sharing/list_received_files/continue", SharingRead, |call, state| {
        Box::pin(reached::list_received_files_continue(call, state))
    }),
];

/// Routes of other hosts, which a gateway alone names with their host.
pub static ELSEWHERE: &[(&str, Host)] = &[
    ("files/list_folder/longpoll", Host::Notify),
    ("files/upload", Host::Content),
    ("files/download", Host::Content),
    ("files/upload_session/start", Host::Content),
    ("files/upload_session/append", Host::Content),
    ("files/upload_session/append_v2", Host::Content),
    ("files/upload_session/finish", Host::Content),
    ("files/export", Host::Content),
    ("sharing/get_shared_link_file", Host::Content),
];
