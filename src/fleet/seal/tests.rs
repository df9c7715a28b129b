use proptest::prelude::*;

use super::*;

const CLIENT: [u8; 16] = [7; 16];
const DATA: AssociatedData =
    AssociatedData { generation: 1_700_000_000_000, lifetime_millis: 3_600_000, forced: false };

fn key(secret: &str) -> SealKey {
    SealKey::derive(CLIENT, secret, None)
}

#[test]
fn a_sealed_token_opens_with_the_same_secret_and_is_hidden() {
    let sealed = key("secret").seal(b"the token", DATA).unwrap();
    assert_eq!(key("secret").open(&sealed, DATA).unwrap().as_slice(), b"the token");
    assert!(!sealed.windows(9).any(|window| window == b"the token"));
    assert_ne!(sealed, key("secret").seal(b"the token", DATA).unwrap(), "a nonce is used twice");
}

#[test]
fn another_secret_key_client_or_associated_data_opens_nothing() {
    let sealed = key("secret").seal(b"the token", DATA).unwrap();
    let others =
        [key("Secret"), SealKey::derive(CLIENT, "secret", Some(&[1; 32])), SealKey::derive([8; 16], "secret", None)];
    for other in others {
        assert!(other.open(&sealed, DATA).is_none());
        assert_ne!(other.name(), key("secret").name());
    }
    for data in [
        AssociatedData { generation: DATA.generation + 1, ..DATA },
        AssociatedData { lifetime_millis: DATA.lifetime_millis + 1, ..DATA },
        AssociatedData { forced: true, ..DATA },
    ] {
        assert!(key("secret").open(&sealed, data).is_none(), "{data:?}");
    }
}

#[test]
fn the_name_of_a_key_is_short_and_reveals_neither_key_nor_secret() {
    let key = key("secret");
    assert_eq!(key.name().len(), 16);
    assert_ne!(key.name(), hexadecimal(&key.key[..8]));
    assert_ne!(key.name(), hexadecimal(&Sha256::digest(b"secret")[..8]));
}

#[test]
fn a_token_too_long_for_a_record_is_neither_sealed_nor_opened() {
    let longest = LARGEST_RECORD - NONCE - 16;
    let sealed = key("secret").seal(&vec![b'a'; longest], DATA).unwrap();
    assert_eq!(sealed.len(), LARGEST_RECORD);
    assert!(key("secret").open(&sealed, DATA).is_some());
    assert!(key("secret").seal(&vec![b'a'; longest + 1], DATA).is_none());
    assert!(key("secret").open(&[sealed, vec![0]].concat(), DATA).is_none());
}

#[test]
fn two_clients_have_one_tag_only_if_both_parts_are_equal() {
    let tags = [
        tag(&[b"https://a/v1/auth/jwt", b"client"]),
        tag(&[b"https://a/v1/auth/jw", b"tclient"]),
        tag(&[b"https://b/v1/auth/jwt", b"client"]),
        tag(&[b"https://a/v1/auth/jwt", b"client2"]),
    ];
    for (index, tag) in tags.iter().enumerate() {
        assert_eq!(tags.iter().filter(|other| *other == tag).count(), 1, "{index}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_only_sealed_bytes_open(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(key("secret").open(&bytes, DATA).is_none());
    }

    #[test]
    fn a_changed_bit_is_noticed(byte in 0..49_usize, bit in 0..8_u8) {
        let mut sealed = key("secret").seal(b"the token", DATA).unwrap();
        prop_assert_eq!(sealed.len(), 49);
        sealed[byte] ^= 1 << bit;
        prop_assert!(key("secret").open(&sealed, DATA).is_none());
    }
}
