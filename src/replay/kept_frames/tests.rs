use http::HeaderValue;

use super::*;

fn data(size: usize) -> Frame<Bytes> {
    Frame::data(Bytes::from(vec![b'x'; size]))
}

fn all(kept: &mut KeptFrames) -> Vec<Frame<Bytes>> {
    kept.seal();
    (0..kept.len()).map(|position| kept.frame(position).expect("within the length")).collect()
}

#[test]
fn large_frames_are_shared() {
    let original = Bytes::from(vec![b'x'; COPIED_BELOW]);
    let mut kept = KeptFrames::default();
    assert!(kept.push(&Frame::data(original.clone()), COPIED_BELOW).is_ok());
    let frames = all(&mut kept);
    assert_eq!(frames[0].data_ref().unwrap().as_ptr(), original.as_ptr());
}

#[test]
fn small_frames_become_one() {
    let mut kept = KeptFrames::default();
    for _ in 0..1000 {
        assert!(kept.push(&data(1), 1000).is_ok());
        assert!(kept.push(&data(0), 1000).is_ok());
    }
    let frames = all(&mut kept);
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].data_ref().unwrap().len(), 1000);
}

#[test]
fn the_order_of_small_and_large_frames_and_trailers_stays() {
    let mut trailers = HeaderMap::new();
    trailers.insert("checksum", HeaderValue::from_static("1"));
    let mut kept = KeptFrames::default();
    for frame in [data(1), data(300), data(2), data(3), Frame::trailers(trailers.clone())] {
        assert!(kept.push(&frame, 1000).is_ok());
    }
    let frames = all(&mut kept);
    let sizes: Vec<_> = frames.iter().map(|frame| frame.data_ref().map(Bytes::len)).collect();
    assert_eq!(sizes, [Some(1), Some(300), Some(5), None]);
    assert_eq!(frames[3].trailers_ref(), Some(&trailers));
}

#[test]
fn the_bound_counts_bytes_of_data_and_of_trailers() {
    let mut trailers = HeaderMap::new();
    trailers.insert("sum", HeaderValue::from_static("12"));
    let mut kept = KeptFrames::default();
    assert!(kept.push(&data(300), 305).is_ok());
    assert!(kept.push(&data(0), 305).is_ok());
    assert!(kept.push(&Frame::trailers(trailers.clone()), 305).is_ok());
    assert!(kept.push(&data(1), 305).is_err());

    let mut kept = KeptFrames::default();
    assert!(kept.push(&data(300), 304).is_ok());
    assert!(kept.push(&Frame::trailers(trailers), 304).is_err());
}

#[test]
fn an_entry_takes_32_bytes() {
    assert_eq!(size_of::<KeptFrame>(), 32);
}
