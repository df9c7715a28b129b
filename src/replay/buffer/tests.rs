use std::sync::{Arc, atomic::AtomicUsize};

use http_body_util::Empty;

use super::*;

/// The allocation of an `Arc`: its two counts and the value.
type Allocated<T> = (AtomicUsize, AtomicUsize, T);

#[test]
#[cfg(target_pointer_width = "64")]
fn a_request_takes_the_documented_heap() {
    assert_eq!(size_of::<Allocated<Mutex<ReplayBuffer<Empty<Bytes>>>>>(), 136);
    // The body is not part of this size, because it is in a box.
    assert_eq!(size_of::<ReplayBuffer<[u8; 1000]>>(), size_of::<ReplayBuffer<()>>());
}

#[test]
fn a_buffer_is_send_and_sync_if_the_body_is_send() {
    fn assert<T: Send + Sync>() {}
    assert::<Arc<Mutex<ReplayBuffer<std::cell::Cell<u8>>>>>();
}
