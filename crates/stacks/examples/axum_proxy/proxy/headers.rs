//! The headers that are forwarded, and the headers that concern only one connection.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Version,
    header::{
        AUTHORIZATION, CONNECTION, HOST, ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING,
        UPGRADE, VIA,
    },
    uri::Authority,
};

/// RFC 9110, section 7.6.1, and section 11.7 for the headers between a client and its proxy.
/// `Trailer` is absent, because the trailers themselves are forwarded.
const HOP_BY_HOP: [HeaderName; 8] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authentication-info"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The vendor's other kind of token. If the server refused the proxy's token, it would try this
/// token of the caller.
const RESTRICTED_ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-restricted-access-token");
/// A browser's statement about the page that causes a request (W3C Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Removes `Connection`, every header that it names, and the headers that are always hop-by-hop.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP).chain([&CONNECTION]) {
        headers.remove(name);
    }
}

/// Reduces a caller's headers to the headers for Turris.
pub(super) fn prepare_request(headers: &mut HeaderMap, version: Version) {
    remove_hop_by_hop(headers);
    // The caller's credentials are for the proxy only, even if the layer adds no credentials.
    headers.remove(AUTHORIZATION);
    headers.remove(RESTRICTED_ACCESS_TOKEN);
    // This is the proxy's name. The client writes the name of Turris.
    headers.remove(HOST);
    // RFC 9110, section 7.6.3: the version in which the message was received, and a name for the
    // proxy.
    let via = match version {
        Version::HTTP_10 => "1.0 turris-proxy",
        Version::HTTP_2 => "2 turris-proxy",
        _ => "1.1 turris-proxy",
    };
    headers.append(VIA, HeaderValue::from_static(via));
}

/// Returns whether a browser sends the request for a web page. Without this check, every page that
/// is open on this machine could use the token. There are two cases:
/// - A foreign page. It has an `Origin`. For an image or a link it has a `Sec-Fetch-Site` other
///   than `none`, the value for a typed address.
/// - A page whose host name leads to the loopback address.
pub(super) fn is_of_a_web_page<B>(request: &Request<B>) -> bool {
    let is_loopback = |authority: &Authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let host_is_loopback =
        |host: &HeaderValue| Authority::try_from(host.as_bytes()).is_ok_and(|authority| is_loopback(&authority));
    let headers = request.headers();
    headers.contains_key(ORIGIN)
        || headers.get_all(SEC_FETCH_SITE).iter().any(|site| site != "none")
        // In HTTP/2 and in the absolute form the host is in the target.
        || !request.uri().authority().is_none_or(is_loopback)
        || !headers.get_all(HOST).iter().all(host_is_loopback)
}
