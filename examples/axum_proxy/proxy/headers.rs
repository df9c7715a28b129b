//! Which headers go through, and which are between two neighbours only.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Version,
    header::{
        AUTHORIZATION, CONNECTION, HOST, ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING,
        UPGRADE, VIA,
    },
    uri::Authority,
};

/// RFC 9110, section 7.6.1, and section 11.7 for what is between a client and its proxy. `Trailer` is not among them: the
/// trailers themselves are forwarded.
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

/// The vendor's other kind of token. A caller's own would be tried where the proxy's is refused.
const RESTRICTED_ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-restricted-access-token");
/// What a browser says of the page for which it sends a request (W3C Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Removes `Connection`, every header that it names, and those that are hop-by-hop by themselves.
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

/// Leaves what Turris is to see of a caller's headers.
pub(super) fn prepare_request(headers: &mut HeaderMap, version: Version) {
    remove_hop_by_hop(headers);
    // The caller's own is nobody's business but the proxy's, even where the layer puts none in its place.
    headers.remove(AUTHORIZATION);
    headers.remove(RESTRICTED_ACCESS_TOKEN);
    // The proxy's own name; the client writes that of Turris.
    headers.remove(HOST);
    // Section 7.6.3: the version in which the message was received, and a name for the proxy.
    let via = match version {
        Version::HTTP_10 => "1.0 turris-proxy",
        Version::HTTP_2 => "2 turris-proxy",
        _ => "1.1 turris-proxy",
    };
    headers.append(VIA, HeaderValue::from_static(via));
}

/// Whether a browser sends this for a page: a foreign page (it has an `Origin`, or for an image or a link a `Sec-Fetch-Site`
/// other than that of an address that was typed in), or one whose host name was made to lead to the loopback address.
/// Without the check any page that is open on this machine could use the token.
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
        // HTTP/2 has the host in the target, and so has the absolute form.
        || !request.uri().authority().is_none_or(is_loopback)
        || !headers.get_all(HOST).iter().all(host_is_loopback)
}
