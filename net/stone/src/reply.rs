//! What a call that succeeds answers.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::Value;

/// The header with the result of a download.
pub const RESULT_HEADER: &str = "dropbox-api-result";

/// An answer.
#[derive(Debug)]
pub enum Reply {
    /// A result, as JSON.
    Json(Vec<u8>),
    /// Content, with the result in a header.
    Content {
        /// JSON.
        result: String,
        /// 200, 206, 304 or 416.
        status: StatusCode,
        /// Content-Length, Content-Range, ETag and what else there is.
        headers: HeaderMap,
        /// The bytes.
        body: Body,
    },
    /// Anything else.
    Raw(Response),
}

impl Reply {
    /// The result of a route that has none.
    #[must_use]
    pub fn null() -> Reply {
        Reply::Json(b"null".to_vec())
    }

    /// A result from a small value.
    #[must_use]
    pub fn value(value: &Value) -> Reply {
        Reply::Json(value.to_string().into_bytes())
    }

    /// As HTTP.
    #[must_use]
    pub fn into_response(self) -> Response {
        match self {
            Reply::Json(json) => {
                let mut response = Response::new(Body::from(json));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Reply::Content { result, status, headers, body } => {
                let mut response = Response::new(body);
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                let octets = HeaderValue::from_static("application/octet-stream");
                response.headers_mut().entry(header::CONTENT_TYPE).or_insert(octets);
                // ASCII without control characters is always a header's value.
                if let Ok(value) = HeaderValue::from_str(&header_json(&result)) {
                    response.headers_mut().insert(RESULT_HEADER, value);
                }
                response
            }
            Reply::Raw(response) => response,
        }
    }
}

impl From<Value> for Reply {
    fn from(value: Value) -> Reply {
        Reply::value(&value)
    }
}

/// JSON for a header: all beyond printable ASCII is escaped, with surrogate pairs.
#[must_use]
pub fn header_json(json: &str) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if (' '..='~').contains(&c) {
            text.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\u{unit:04x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_in_a_header_is_ascii() {
        assert_eq!(header_json("{\"name\":\"a\u{e9}\u{1f600}\u{7f}\"}"), r#"{"name":"a\u00e9\ud83d\ude00\u007f"}"#);
        let content = Reply::Content {
            result: "{\"name\":\"\u{e9}\"}".to_owned(),
            status: StatusCode::PARTIAL_CONTENT,
            headers: HeaderMap::new(),
            body: Body::empty(),
        };
        let response = content.into_response();
        assert_eq!(response.status(), 206);
        assert_eq!(response.headers()[RESULT_HEADER], r#"{"name":"\u00e9"}"#);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/octet-stream");
    }

    #[test]
    fn json_has_the_type_that_clients_compare_with() {
        let response = Reply::null().into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    }
}
