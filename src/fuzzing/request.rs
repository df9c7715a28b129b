//! The copy of a request that another attempt needs.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use http_body_util::{BodyExt, Full};

use super::{lines, split_at_first};
use crate::kept::KeptRequest;

/// A line of method and URI; then headers, of which one with a `!` before it is sensitive, and a name with a `-` before it
/// is taken out again.
///
/// Taking headers out leaves a map in an order in which nobody would have put them in.
pub fn request_head(data: &[u8]) {
    let mut lines = lines(data);
    let Some((method, uri)) = lines.next().and_then(|line| split_at_first(line, b' ')) else { return };
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method), Uri::try_from(uri)) else { return };
    let mut headers = HeaderMap::new();
    for line in lines {
        change(&mut headers, line);
    }

    let body = Bytes::copy_from_slice(data);
    let mut request = Request::new(Full::from(body.clone()));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    *request.version_mut() = if data.len().is_multiple_of(2) { Version::HTTP_11 } else { Version::HTTP_2 };
    request.extensions_mut().insert(data.len());

    let copy = KeptRequest::of(&request).expect("a body in memory can be sent again");
    assert!(copy.is_replayable());
    let copy = copy.into_request().expect("what was valid once is so again");
    let cloned = request.clone();
    assert_eq!(copy.method(), cloned.method());
    assert_eq!(copy.version(), cloned.version());
    assert_eq!(copy.extensions().get::<usize>(), Some(&data.len()));
    assert_eq!(copy.uri(), cloned.uri());
    assert_eq!(parts(copy.uri()), parts(cloned.uri()));
    assert_eq!(copy.headers(), cloned.headers());
    assert!(copy.headers().iter().map(header).eq(cloned.headers().iter().map(header)), "{cloned:?}");
    // A copy is found by name as the original is: its index was built anew.
    for name in cloned.headers().keys() {
        assert!(copy.headers().get_all(name).iter().eq(cloned.headers().get_all(name)), "{name}");
    }

    assert_eq!(bytes_of(copy), body);
}

fn change(headers: &mut HeaderMap, line: &[u8]) {
    if let Some(name) = line.strip_prefix(b"-") {
        if let Ok(name) = HeaderName::from_bytes(name) {
            headers.remove(name);
        }
        return;
    }
    let (is_sensitive, line) = line.strip_prefix(b"!").map_or((false, line), |line| (true, line));
    if let Some((name, value)) = split_at_first(line, b':')
        && let (Ok(name), Ok(mut value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii()))
    {
        value.set_sensitive(is_sensitive);
        headers.append(name, value);
    }
}

/// Without regard to case, as `Uri` itself compares them, two URIs may be equal that a server tells apart.
fn parts(uri: &Uri) -> (Option<&str>, Option<&str>, Option<&str>) {
    let path_and_query = uri.path_and_query().map(|path_and_query| path_and_query.as_str());
    (uri.scheme_str(), uri.authority().map(|authority| authority.as_str()), path_and_query)
}

fn header<'a>((name, value): (&'a HeaderName, &'a HeaderValue)) -> (&'a str, &'a [u8], bool) {
    (name.as_str(), value.as_bytes(), value.is_sensitive())
}

/// All of a body that is never pending.
fn bytes_of(request: Request<Full<Bytes>>) -> Bytes {
    let mut collected = std::pin::pin!(request.into_body().collect());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match Future::poll(collected.as_mut(), &mut context) {
        std::task::Poll::Ready(Ok(collected)) => collected.to_bytes(),
        other => panic!("{other:?}"),
    }
}
