//! The routes of files: what is there, what has changed, and changes of it.

pub mod across;
pub mod batch;
pub mod change;
pub mod history;
pub mod listing;
pub mod look;
pub mod relocate;

use serde_json::Value;
use stone::error::tagged;
use stone::{ApiError, Arg, PathArg, PathKinds};

/// A path of the argument; what is none is `malformed_path` in the route's wrapper.
pub fn path_of(arg: &Arg, field: &str, kinds: PathKinds, wrap: fn(Value) -> Value) -> Result<PathArg, ApiError> {
    parse_path(arg.text(field)?, kinds).map_err(|error| ApiError::Route(wrap(error)))
}

/// A path, or the error that its route wraps.
pub fn parse_path(text: &str, kinds: PathKinds) -> Result<PathArg, Value> {
    PathArg::parse(text, kinds).map_err(|_| tagged("malformed_path"))
}
