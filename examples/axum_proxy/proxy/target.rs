//! Which request targets are forwarded.

use http::Uri;

/// Why a path is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Servers and gateways take it for another path, which may be none of those below `/v1/`.
    Ambiguous,
    /// The token endpoint. A caller's token requests would use up the allowance that the proxy's own need.
    TokenEndpoint,
}

/// Looks at a path as a server may see it: decoded, with a backslash for a slash, without parameters (`;a=b`).
pub(super) fn check(uri: &Uri) -> Result<(), Refused> {
    let path = decoded(uri.path()).to_ascii_lowercase();
    let path = path.strip_prefix(b"/").unwrap_or(&path);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let segments = path.split(|byte| matches!(byte, b'/' | b'\\'));
    let names: Vec<&[u8]> = segments.filter_map(|segment| segment.split(|byte| *byte == b';').next()).collect();
    if names.iter().any(|name| matches!(*name, b"" | b"." | b"..")) {
        return Err(Refused::Ambiguous);
    }
    if names == [b"v1".as_slice(), b"auth", b"jwt"] { Err(Refused::TokenEndpoint) } else { Ok(()) }
}

/// Without its percent-encoding (RFC 3986, section 2.1). What is none stays as it is.
fn decoded(path: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [byte, behind @ ..] = rest {
        let encoded = || {
            let digits = str::from_utf8(behind.get(..2).filter(|_| *byte == b'%')?).ok()?;
            u8::from_str_radix(digits, 16).ok()
        };
        let value = encoded();
        rest = if value.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
        decoded.push(value.unwrap_or(*byte));
    }
    decoded
}
