//! What all HTTP roles share: TLS, arguments, results and errors of the Stone protocol, tokens, ids, path roots.
//!
//! A role is a table of [`Route`]s and a state of its own; [`router`] makes an `axum::Router` of them that checks tokens,
//! reads arguments and writes answers, and [`listen()`] serves it over TLS. What a route means is the role's business.
//! Protocol and shapes: docs/design/gateway.md.

pub mod arg;
pub mod auth;
pub mod ca;
pub mod call;
pub mod config;
pub mod entries;
pub mod error;
pub mod form;
pub mod ids;
pub mod keys;
pub mod links;
pub mod listen;
pub mod metaserver;
pub mod outcome;
pub mod password;
pub mod path;
pub mod places;
pub mod reply;
pub mod route;
pub mod running;
pub mod scope;
pub mod stamp;
pub mod temporary;
pub mod token;

pub use axum::Router;

pub use arg::{Arg, Union};
pub use auth::{Authenticator, Caller};
pub use ca::{CaError, DevCa};
pub use call::{Call, Content, Stone};
pub use config::ConfigError;
pub use entries::Writer;
pub use error::ApiError;
pub use form::Form;
pub use keys::{Keys, Secret};
pub use listen::{ListenError, Listener, accept, listen};
pub use metaserver::{Asked, Metaserver, MetaserverError};
pub use path::{PathArg, PathKinds};
pub use places::{Found, Spot};
pub use reply::Reply;
pub use route::{Handler, Host, Needs, Route, Style, router, unknown};
pub use running::Running;
pub use scope::Scope;
pub use temporary::Temporary;
