use super::*;

fn published(value: u32) -> (Published<u32>, Arc<u32>) {
    let published = Published::empty();
    let value = Arc::new(value);
    published.store(Some(Arc::clone(&value)));
    (published, value)
}

#[test]
fn a_reader_keeps_the_value_and_sees_each_newer_value() {
    let (published, value) = published(1);
    let mut reader = published.reader();
    for _ in 0..2 {
        assert_eq!(published.read(&mut reader).get(), Some(&value));
        assert_eq!(Arc::strong_count(&value), 3);
    }
    for newer in [Some(Arc::new(2)), None, Some(Arc::clone(&value))] {
        published.store(newer.clone());
        assert_eq!(published.read(&mut reader).get(), newer.as_ref());
    }
}

#[test]
fn a_clone_of_a_reader_keeps_nothing() {
    let (published, value) = published(1);
    let reader = published.reader();
    let before = Arc::strong_count(&value);
    let mut clone = reader.clone();
    for _ in 0..2 {
        assert_eq!(published.read(&mut clone).get(), Some(&value));
        assert_eq!(Arc::strong_count(&value), before);
    }
}
