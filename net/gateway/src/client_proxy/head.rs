//! The head of a CONNECT, and the answers of a proxy that does not join. Pure.

/// Headers of a CONNECT at most; clients send three or four.
const HEADERS_MAX: usize = 64;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// In lower case; an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Head {
    /// The head at the beginning of `bytes` with its length, or `None` while it is not whole.
    ///
    /// Errors: [`Refusal`].
    pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Refusal::Malformed),
        };
        match (request.method, request.path) {
            (Some("CONNECT"), Some(authority)) => {
                Ok(Some((Head::of_authority(authority).ok_or(Refusal::Malformed)?, length)))
            }
            (Some(method), _) => Err(Refusal::Method(method.to_owned())),
            _ => Err(Refusal::Malformed),
        }
    }

    /// `host:port`, or `[address]:port`.
    fn of_authority(authority: &str) -> Option<Head> {
        let (host, port) = authority.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(address) => address.strip_suffix(']').filter(|address| address.contains(':'))?,
            None => host,
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        let is_good = !host.is_empty() && host.len() <= 255 && host.bytes().all(is_host);
        // A name with a dot at its end is the same name.
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        // A number as Rust reads it may have a sign.
        let port = port.parse().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))?;
        (is_good && !host.is_empty() && port != 0).then_some(Head { host, port })
    }

    /// `host:port` again.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Why a client is not led anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What it sent is no request.
    Malformed,
    /// Its head did not end.
    TooLarge,
    /// Its head took too long.
    Slow,
    /// It wants something else than CONNECT.
    Method(String),
    /// A host that this proxy does not lead to.
    Foreign(String),
    /// No server took the connection.
    Unreachable {
        /// Asked for.
        host: String,
        /// Each address that was dialled, with the system's words.
        why: String,
    },
    /// There are as many connections as may be.
    Full,
}

impl Refusal {
    /// The whole answer.
    pub fn answer(&self) -> String {
        let (status, more, text) = match self {
            Refusal::Malformed => ("400 Bad Request", "", "this is no CONNECT host:port".to_owned()),
            Refusal::TooLarge => ("431 Request Header Fields Too Large", "", "the head is too large".to_owned()),
            Refusal::Slow => ("408 Request Timeout", "", "the head did not arrive in time".to_owned()),
            Refusal::Method(method) => (
                "405 Method Not Allowed",
                "Allow: CONNECT\r\n",
                format!(
                    "{method} is not taken: this proxy leads https alone; set it as HTTPS_PROXY, not as HTTP_PROXY"
                ),
            ),
            Refusal::Foreign(authority) => (
                "403 Forbidden",
                "",
                format!(
                    "{authority} is not a host of this cluster; start the proxy with --pass-others to reach it too"
                ),
            ),
            Refusal::Unreachable { host, why } => (
                "502 Bad Gateway",
                "",
                format!("could not reach what stands for {host}: {why}; is the server running there?"),
            ),
            Refusal::Full => (
                "503 Service Unavailable",
                "Retry-After: 1\r\n",
                "the proxy has as many connections as it may".to_owned(),
            ),
        };
        let length = text.len() + 1;
        format!(
            "HTTP/1.1 {status}\r\n{more}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{text}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<(Head, usize)>, Refusal> {
        Head::parse(text.as_bytes())
    }

    fn authority(text: &str) -> Option<String> {
        match parse(&format!("CONNECT {text} HTTP/1.1\r\n\r\n")) {
            Ok(head) => head.map(|(head, _)| head.authority()),
            Err(refusal) => {
                assert_eq!(refusal, Refusal::Malformed, "{text}");
                None
            }
        }
    }

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let text = "CONNECT api.dropboxapi.com:443 HTTP/1.1\r\nHost: api.dropboxapi.com:443\r\n\r\n";
        let head = Head { host: "api.dropboxapi.com".to_owned(), port: 443 };
        assert_eq!(parse(text), Ok(Some((head.clone(), text.len()))));
        assert_eq!(parse(&format!("{text}more")), Ok(Some((head, text.len()))));
        for length in 0..text.len() {
            assert_eq!(parse(&text[..length]), Ok(None), "{length}");
        }
    }

    #[test]
    fn hosts_are_names_and_addresses_with_a_port() {
        assert_eq!(authority("API.dropboxapi.com.:443").as_deref(), Some("api.dropboxapi.com:443"));
        assert_eq!(authority("[::1]:443").as_deref(), Some("[::1]:443"));
        assert_eq!(authority("127.0.0.1:80").as_deref(), Some("127.0.0.1:80"));
        for bad in [
            "host",
            "host:",
            "host:0",
            "host:65536",
            "host:+1",
            ":443",
            ".:443",
            "[host]:1",
            "[::1:443",
            "a/b:1",
            "a@b:1",
        ] {
            assert_eq!(authority(bad), None, "{bad}");
        }
    }

    #[test]
    fn other_methods_and_other_bytes_are_told() {
        assert_eq!(parse("GET http://a/ HTTP/1.1\r\n\r\n"), Err(Refusal::Method("GET".to_owned())));
        assert_eq!(parse("\x16\x03\x01\x02\0\x01"), Err(Refusal::Malformed), "TLS at once");
        let many = format!("CONNECT a:1 HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(parse(&many), Err(Refusal::Malformed));
    }

    #[test]
    fn an_answer_says_how_long_it_is() {
        for refusal in [Refusal::Malformed, Refusal::Method("GET".to_owned()), Refusal::Foreign("a:1".to_owned())] {
            let answer = refusal.answer();
            let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
            assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
        }
    }
}
