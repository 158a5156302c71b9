//! The statuses of HTTP that there are here, each with its words.

/// The status of a response (RFC 9110, 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: u16,
    pub(super) reason: &'static str,
    /// What is said to people.
    pub(super) words: &'static str,
}

impl Status {
    pub(super) const OK: Self = Self { code: 200, reason: "OK", words: "ok" };
    pub(super) const BAD_REQUEST: Self =
        Self { code: 400, reason: "Bad Request", words: "this is no HTTP/1 request without a body" };
    pub(super) const NOT_FOUND: Self =
        Self { code: 404, reason: "Not Found", words: "there are /, /connections, /livez, /metrics and /readyz" };
    pub(super) const METHOD_NOT_ALLOWED: Self =
        Self { code: 405, reason: "Method Not Allowed", words: "use GET or HEAD" };
    pub(super) const REQUEST_TIMEOUT: Self =
        Self { code: 408, reason: "Request Timeout", words: "the request took too long" };
    pub(super) const URI_TOO_LONG: Self =
        Self { code: 414, reason: "URI Too Long", words: "the first line is too long" };
    pub(super) const MISDIRECTED: Self = Self {
        code: 421,
        reason: "Misdirected Request",
        words: "on this machine, ask by a number or as localhost: another name could be anybody's",
    };
    pub(super) const FIELDS_TOO_LARGE: Self =
        Self { code: 431, reason: "Request Header Fields Too Large", words: "the header is too long" };
    pub(super) const INTERNAL_ERROR: Self =
        Self { code: 500, reason: "Internal Server Error", words: "internal error" };
    pub(super) const UNAVAILABLE: Self =
        Self { code: 503, reason: "Service Unavailable", words: "busy, try again later" };
    pub(super) const VERSION_NOT_SUPPORTED: Self =
        Self { code: 505, reason: "HTTP Version Not Supported", words: "use HTTP/1.1 or HTTP/1.0" };
}
