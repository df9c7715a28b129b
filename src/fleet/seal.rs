//! The seal on a token in the store. Only a process with the client secret can make it or open it.

use std::fmt::Write;

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{AeadInOut, Nonce},
};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::store::LARGEST_RECORD;

/// Version of the records and of the derivation of keys. Crate versions with different schemas
/// share nothing.
pub(super) const SCHEMA: u8 = 1;

const NONCE: usize = 24;

/// Data that is authenticated with the token, so that a store cannot pass one record off as
/// another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AssociatedData {
    pub(super) generation: u64,
    pub(super) lifetime_millis: u64,
    pub(super) forced: bool,
}

/// The key of one client secret.
pub(super) struct SealKey {
    key: Zeroizing<[u8; 32]>,
    client: [u8; 16],
    name: Box<str>,
}

impl SealKey {
    /// Derives the key and its name from `client_secret`, by HKDF-SHA256 with a different `info`
    /// for each. The name reveals neither the key nor the secret. An `encryption_key` is the salt:
    /// without the salt no guess of a secret can be tested.
    pub(super) fn derive(client: [u8; 16], client_secret: &str, encryption_key: Option<&[u8; 32]>) -> Self {
        let derivation = Hkdf::<Sha256>::new(encryption_key.map(<[u8; 32]>::as_slice), client_secret.as_bytes());
        let mut key = Zeroizing::new([0; 32]);
        let mut name = [0; 8];
        expand(&derivation, b"turris-auth 1 token key", client, &mut *key);
        expand(&derivation, b"turris-auth 1 key name", client, &mut name);
        Self { key, client, name: hexadecimal(&name).into() }
    }

    /// The name of the key, which is the name of the secret's slot.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Encrypts `token`. Returns `None` if the operating system has no random bytes, or if the
    /// token is too long for a record.
    pub(super) fn seal(&self, token: &[u8], data: AssociatedData) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).ok()?;
        // Enough capacity for all additions: a reallocation would leave plain text in freed memory.
        let mut text = Zeroizing::new(Vec::with_capacity(token.len() + 16));
        text.extend_from_slice(token);
        self.cipher().encrypt_in_place(&XNonce::from(nonce), &self.encode(data), &mut *text).ok()?;
        let sealed = [nonce.as_slice(), &text].concat();
        (sealed.len() <= LARGEST_RECORD).then_some(sealed)
    }

    /// Decrypts a record that [`seal`](Self::seal) has made with the same key and the same `data`.
    /// Returns `None` for anything else.
    pub(super) fn open(&self, sealed: &[u8], data: AssociatedData) -> Option<Zeroizing<Vec<u8>>> {
        if sealed.len() > LARGEST_RECORD {
            return None;
        }
        let (nonce, text) = sealed.split_first_chunk::<NONCE>()?;
        let mut text = Zeroizing::new(text.to_vec());
        let nonce: Nonce<XChaCha20Poly1305> = (*nonce).into();
        self.cipher().decrypt_in_place(&nonce, &self.encode(data), &mut *text).ok()?;
        Some(text)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.key).into())
    }

    /// Joins parts of fixed lengths, so that different values always give different bytes.
    fn encode(&self, data: AssociatedData) -> [u8; 34] {
        let mut bytes = [0; 34];
        let parts = [SCHEMA].into_iter().chain(self.client);
        let parts = parts.chain(data.generation.to_be_bytes()).chain(data.lifetime_millis.to_be_bytes());
        for (byte, part) in bytes.iter_mut().zip(parts.chain([u8::from(data.forced)])) {
            *byte = part;
        }
        bytes
    }
}

/// A name for `parts` that reveals none of them: 16 bytes of a hash.
pub(super) fn tag(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut tag = [0; 16];
    for (byte, part) in tag.iter_mut().zip(hash.finalize()) {
        *byte = part;
    }
    tag
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a `String` does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn expand(derivation: &Hkdf<Sha256>, info: &[u8], client: [u8; 16], output: &mut [u8]) {
    // Fails only for more than 255 times 32 bytes.
    let _ = derivation.expand_multi_info(&[info, &client], output);
}

#[cfg(test)]
mod tests;
