use http_body_util::Full;
use proptest::{collection::vec, option, prelude::*};

use super::*;

#[derive(Clone, Debug, PartialEq)]
struct Extension(u32);

fn header_name() -> impl Strategy<Value = HeaderName> {
    let any = "[!#$%&'*+.^_`|~0-9a-zA-Z-]{1,80}";
    let known = prop::sample::select(vec!["accept", "content-type", "set-cookie", "authorization", "x-request-id"]);
    prop_oneof![any.prop_map(|name| name.parse().unwrap()), known.prop_map(HeaderName::from_static)]
}

fn header_value() -> impl Strategy<Value = HeaderValue> {
    let byte = prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8];
    (vec(byte, 0..200), any::<bool>()).prop_map(|(bytes, sensitive)| {
        let mut value = HeaderValue::from_bytes(&bytes).unwrap();
        value.set_sensitive(sensitive);
        value
    })
}

fn uri() -> impl Strategy<Value = Uri> {
    let absolute =
        "https?://[a-z0-9.-]{1,20}[a-z](:[1-9][0-9]{0,3})?(/[a-zA-Z0-9%._~-]{0,10}){0,4}(\\?[a-z0-9=&]{0,20})?";
    let others = prop::sample::select(vec!["/", "*", "/a?b", "example.com:443", "http://[::1]:8080/", "x-y://a@b:1/c"]);
    prop_oneof![absolute.prop_map(|uri| uri.parse().unwrap()), others.prop_map(Uri::from_static)]
}

fn request() -> impl Strategy<Value = Request<Full<Bytes>>> {
    let method = prop_oneof!["(GET|POST|HEAD|CONNECT|PATCH)", "[A-Z!#$]{1,40}"]
        .prop_map(|method| method.parse::<Method>().unwrap());
    let version = prop::sample::select(vec![
        Version::HTTP_09,
        Version::HTTP_10,
        Version::HTTP_11,
        Version::HTTP_2,
        Version::HTTP_3,
    ]);
    let headers = vec((header_name(), header_value()), 0..30);
    let head = (method, uri(), version, headers, option::of(any::<u32>()), vec(any::<u8>(), 0..100));
    head.prop_map(|(method, uri, version, headers, extension, body)| {
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = version;
        for (name, value) in headers {
            request.headers_mut().append(name, value);
        }
        if let Some(extension) = extension {
            request.extensions_mut().insert(Extension(extension));
        }
        request
    })
}

/// Returns names, values and sensitive marks, in order. The equality of header maps ignores the
/// order of names and the marks.
fn in_order(headers: &HeaderMap) -> Vec<(String, Vec<u8>, bool)> {
    let entry = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_owned(), value.is_sensitive())
    };
    headers.iter().map(entry).collect()
}

fn pack(uri: &Uri, headers: &HeaderMap) -> PackedHead {
    PackedHead::pack(&Method::PUT, Version::HTTP_11, uri, headers, || {}).unwrap()
}

fn unpacked(headers: &HeaderMap) -> HeaderMap {
    pack(&Uri::default(), headers).unpack().unwrap().headers().clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(turris_test_support::cases(16, 64)))]

    #[test]
    fn an_unpacked_request_equals_the_packed_request(request in request()) {
        let copy = RetryCopy::of(&request, || {}).unwrap().into_request().unwrap();
        prop_assert_eq!(copy.method(), request.method());
        prop_assert_eq!(copy.uri(), request.uri());
        prop_assert_eq!(copy.version(), request.version());
        prop_assert_eq!(in_order(copy.headers()), in_order(request.headers()));
        prop_assert_eq!(copy.extensions().get::<Extension>(), request.extensions().get::<Extension>());
        prop_assert_eq!(format!("{:?}", copy.body()), format!("{:?}", request.body()));
    }

    #[test]
    fn order_survives_removals(request in request(), removals in vec(any::<prop::sample::Index>(), 0..10)) {
        let mut headers = request.headers().clone();
        for removal in removals {
            if let Some(name) = headers.keys().nth(removal.index(headers.keys_len().max(1))).cloned() {
                headers.remove(name);
            }
        }
        prop_assert_eq!(in_order(&unpacked(&headers)), in_order(&headers));
    }
}

#[test]
fn a_scheme_may_be_empty() {
    for uri in ["://host/", "://host:1/path?query"] {
        let uri = Uri::from_static(uri);
        let copy = pack(&uri, &HeaderMap::new()).unpack().unwrap().uri().clone();
        assert_eq!((copy.scheme_str(), &copy), (Some(""), &uri));
    }
}

#[test]
fn packing_takes_one_block() {
    let mut headers = HeaderMap::new();
    headers.append("set-cookie", HeaderValue::from_static("a"));
    headers.append("set-cookie", HeaderValue::from_static("bc"));
    let packed = pack(&Uri::from_static("https://host/path?query"), &headers).0;
    // The scheme `https` is packed as a number.
    assert_eq!(packed.len(), 5 * 4 + "host/path?query".len() + 2 * (8 + "set-cookie".len()) + "abc".len());
    assert_eq!(packed.capacity(), TYPICAL_TARGET + 2 * TYPICAL_HEADER);
}

#[test]
fn the_longest_name_fits() {
    let name = HeaderName::from_bytes(&[b'a'; 65_535]).unwrap();
    let headers = HeaderMap::from_iter([(name, HeaderValue::from_static("value"))]);
    assert_eq!(unpacked(&headers), headers);
}
