use http_body::Body as _;
use http_body_util::Full;

use super::*;

#[test]
fn a_body_of_reqwest_stays_a_body_that_reqwest_can_send_again() {
    assert_eq!(into_body(Body::from("text")).as_bytes(), Some(b"text".as_slice()));
    let other = into_body(Full::new(Bytes::from_static(b"text")));
    // Its length is still known, so that `content-length` is sent.
    assert_eq!((other.as_bytes(), other.size_hint().exact()), (None, Some(4)));
}

#[test]
fn the_types_have_the_traits_that_a_server_needs() {
    fn shared<T: Clone + fmt::Debug + Send + Sync + Unpin + 'static>() {}
    fn sent<T: Send + 'static>() {}
    // The service is `Sync` with every body.
    shared::<ReqwestService<std::cell::Cell<*const ()>>>();
    shared::<crate::TurrisAuth<ReqwestService>>();
    sent::<ResponseFuture>();
}
