use proptest::prelude::*;

use super::*;

fn call(headers: &[(&'static str, &'static str)]) -> Request<()> {
    let mut request = Request::post("/pkg.Service/Method").body(()).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    request
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

#[test]
fn timeouts_are_read_in_all_units() {
    for (text, nanoseconds) in [
        ("1n", 1),
        ("250u", 250_000),
        ("99999999m", 99_999_999_000_000),
        ("5S", 5_000_000_000),
        ("2M", 120_000_000_000),
        ("1H", 3_600_000_000_000),
        ("0m", 0),
    ] {
        assert_eq!(parse(text).map(|timeout| timeout.as_nanos()), Some(nanoseconds), "{text}");
    }
}

#[test]
fn a_malformed_timeout_is_ignored() {
    for text in ["", "m", "5", "5s", "5 S", "-5S", "+5S", "123456789m", "5.5S", "5S ", "５S"] {
        assert_eq!(parse(text), None, "{text}");
    }
}

#[tokio::test]
async fn only_grpc_calls_have_a_deadline() {
    assert!(Deadline::of(&call(&[GRPC, ("grpc-timeout", "5S")])).is_some());
    assert!(Deadline::of(&call(&[("content-type", "application/grpc+proto"), ("grpc-timeout", "5S")])).is_some());
    assert!(Deadline::of(&call(&[("content-type", "application/json"), ("grpc-timeout", "5S")])).is_none());
    assert!(Deadline::of(&call(&[("grpc-timeout", "5S")])).is_none());
    assert!(Deadline::of(&call(&[GRPC])).is_none());
    // Two values are ambiguous.
    assert!(Deadline::of(&call(&[GRPC, ("grpc-timeout", "5S"), ("grpc-timeout", "6S")])).is_none());
    let mut read = call(&[GRPC, ("grpc-timeout", "5S")]);
    *read.method_mut() = Method::GET;
    assert!(Deadline::of(&read).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_later_attempt_states_the_time_left_and_the_number_of_earlier_attempts() {
    let mut request = call(&[GRPC, ("grpc-timeout", "5S"), ("grpc-previous-rpc-attempts", "2")]);
    let deadline = Deadline::of(&request).unwrap();
    tokio::time::advance(Duration::from_millis(4_250)).await;
    deadline.write(&mut request, 1);
    assert_eq!(request.headers()["grpc-timeout"], "750000u");
    assert_eq!(request.headers()["grpc-previous-rpc-attempts"], "3");
}

#[test]
fn a_duration_outside_the_range_becomes_the_nearest_timeout() {
    assert_eq!(encode(Duration::MAX), "99999999H");
    assert_eq!(encode(Duration::ZERO), "1n");
}

proptest! {
    #[test]
    fn an_encoded_timeout_is_read_back_and_is_never_longer(seconds in prop_oneof![0..100_u64, 0..1_000_000_u64, 0..359_999_996_400_u64], nanoseconds in 0..1_000_000_000_u32) {
        let timeout = Duration::new(seconds, nanoseconds);
        let written = encode(timeout);
        prop_assert!(written.len() <= MAX_DIGITS + 1);
        let read = parse(written.to_str().unwrap()).unwrap();
        prop_assert!(read <= timeout.max(Duration::from_nanos(1)));
        // Only digits after the eighth, and digits below the smallest unit, are lost.
        prop_assert!(timeout.as_nanos() - read.as_nanos().min(timeout.as_nanos()) <= timeout.as_nanos() / 20_000);
    }
}
