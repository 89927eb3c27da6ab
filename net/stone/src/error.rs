//! What a call that fails answers (docs/design/gateway.md, "Errors").

use std::fmt;

use serde_json::{Value, json};

use crate::scope::Scope;

/// Why a call has no result.
#[derive(Clone, PartialEq, Debug)]
pub enum ApiError {
    /// 400, text: what is wrong with the call, after `Error in call to API function "x": `.
    Bad(String),
    /// 400, text as it is.
    Text(String),
    /// 401: the tag of an AuthError.
    Auth(&'static str),
    /// 401: the token may not do this.
    MissingScope(Scope),
    /// 403: an AccessError.
    Access(Value),
    /// 409: the route's own error, a union.
    Route(Value),
    /// 422: a PathRootError.
    PathRoot(Value),
    /// 429, with the seconds to wait.
    TooMany {
        /// `too_many_requests` or `too_many_write_operations`.
        reason: &'static str,
        /// Seconds.
        retry_after: u64,
    },
    /// 503: no leader within the deadline, or the outcome is in doubt.
    Unavailable(String),
    /// 500: a bug here; the text goes to the log alone.
    Internal(String),
    /// Another status, with a text.
    Status(u16, String),
}

impl ApiError {
    /// A route's error that is a tag alone.
    #[must_use]
    pub fn tag(tag: &str) -> ApiError {
        ApiError::Route(tagged(tag))
    }

    /// `too_many_write_operations`, after a second.
    #[must_use]
    pub fn busy() -> ApiError {
        ApiError::TooMany { reason: "too_many_write_operations", retry_after: 1 }
    }

    /// An answer that does not fit its question.
    #[must_use]
    pub fn unexpected(what: &dyn fmt::Debug) -> ApiError {
        ApiError::Internal(format!("unexpected answer: {what:?}"))
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            ApiError::Bad(_) | ApiError::Text(_) => 400,
            ApiError::Auth(_) | ApiError::MissingScope(_) => 401,
            ApiError::Access(_) => 403,
            ApiError::Route(_) => 409,
            ApiError::PathRoot(_) => 422,
            ApiError::TooMany { .. } => 429,
            ApiError::Internal(_) => 500,
            ApiError::Unavailable(_) => 503,
            ApiError::Status(status, _) => *status,
        }
    }

    /// The body, and whether it is JSON. `dots` (0 to 3) end the summary, so that nobody compares the whole of it.
    #[must_use]
    pub fn body(&self, route: &str, dots: u8) -> (String, bool) {
        let union = |error: &Value| (with_summary(error, dots).to_string(), true);
        match self {
            ApiError::Bad(what) => (format!("Error in call to API function \"{route}\": {what}"), false),
            ApiError::Text(text) | ApiError::Status(_, text) => (text.clone(), false),
            ApiError::Auth(tag) => union(&tagged(tag)),
            ApiError::MissingScope(scope) => union(&json!({ ".tag": "missing_scope", "required_scope": scope.name() })),
            ApiError::Access(error) | ApiError::Route(error) | ApiError::PathRoot(error) => union(error),
            ApiError::TooMany { reason, retry_after } => {
                let error = json!({ "reason": tagged(reason), "retry_after": retry_after });
                let summary = format!("{reason}/{}", &"..."[..usize::from(dots.min(3))]);
                (json!({ "error_summary": summary, "error": error }).to_string(), true)
            }
            ApiError::Unavailable(_) => ("the service is not available now; try again".to_owned(), false),
            ApiError::Internal(_) => ("internal error".to_owned(), false),
        }
    }
}

/// A void member of a union.
#[must_use]
pub fn tagged(tag: &str) -> Value {
    json!({ ".tag": tag })
}

/// A member that holds another union: under its own name.
#[must_use]
pub fn nested(tag: &str, inner: Value) -> Value {
    let mut error = tagged(tag);
    error[tag] = inner;
    error
}

fn with_summary(error: &Value, dots: u8) -> Value {
    let mut summary = String::new();
    push_tags(&mut summary, error);
    summary.push_str(&"..."[..usize::from(dots.min(3))]);
    json!({ "error_summary": summary, "error": error })
}

/// Members that hold a struct with a tag of its own, not another union.
const STRUCTS: [&str; 2] = ["invalid_root", "metadata"];

/// The tags from the outside in, each with a slash behind it.
fn push_tags(summary: &mut String, error: &Value) {
    let Some(tag) = error[".tag"].as_str() else { return };
    summary.push_str(tag);
    summary.push('/');
    // What a struct is like is no part of an error.
    if STRUCTS.contains(&tag) {
        return;
    }
    // A member that is a flattened struct tells why under `reason`.
    let inner = [&error[tag], &error["reason"]].into_iter().find(|inner| inner[".tag"].is_string());
    if let Some(inner) = inner {
        push_tags(summary, inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(error: &ApiError) -> String {
        error.body("files/x", 2).0
    }

    #[test]
    fn bodies_are_as_clients_decode_them() {
        let not_found = ApiError::Route(nested("path", tagged("not_found")));
        assert_eq!(
            body(&not_found),
            r#"{"error":{".tag":"path","path":{".tag":"not_found"}},"error_summary":"path/not_found/.."}"#
        );
        let upload = json!({ ".tag": "path", "reason": nested("conflict", tagged("file")), "upload_session_id": "x" });
        assert!(body(&ApiError::Route(upload)).contains(r#""error_summary":"path/conflict/file/..""#));
        assert_eq!(
            body(&ApiError::MissingScope(Scope::AccountInfoRead)),
            r#"{"error":{".tag":"missing_scope","required_scope":"account_info.read"},"error_summary":"missing_scope/.."}"#
        );
        assert_eq!(
            body(&ApiError::busy()),
            "{\"error\":{\"reason\":{\".tag\":\"too_many_write_operations\"},\"retry_after\":1},\
             \"error_summary\":\"too_many_write_operations/..\"}"
        );
        assert_eq!(
            body(&ApiError::Bad("it is bad".to_owned())),
            "Error in call to API function \"files/x\": it is bad"
        );
        assert_eq!(body(&ApiError::Internal("a secret".to_owned())), "internal error");
    }

    #[test]
    fn statuses_are_those_of_the_table() {
        let errors = [
            (ApiError::Bad(String::new()), 400),
            (ApiError::Auth("invalid_access_token"), 401),
            (ApiError::Access(tagged("no_permission")), 403),
            (ApiError::tag("reset"), 409),
            (ApiError::PathRoot(tagged("no_permission")), 422),
            (ApiError::busy(), 429),
            (ApiError::Unavailable(String::new()), 503),
            (ApiError::Status(413, String::new()), 413),
        ];
        assert!(errors.iter().all(|(error, status)| error.status() == *status));
    }
}
