//! JSON Web Tokens, signed with HMAC-SHA256 (RFC 7515 and RFC 7519).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac_sha256::HMAC;
use serde_json::Value;

/// The only header that this server writes and accepts, so that no token can choose its own
/// algorithm.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// A signer of tokens that also verifies its own signatures.
pub(crate) struct Signer([u8; 32]);

impl Signer {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let message = format!("{}.{}", encode(HEADER), encode(claims.to_string()));
        let signature = HMAC::mac(&message, self.0);
        format!("{message}.{}", encode(signature))
    }

    /// Returns the claims of `token`, if this signer signed it.
    pub(crate) fn verify(&self, token: &str) -> Option<Value> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        if header != encode(HEADER) {
            return None;
        }
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        if !HMAC::verify(message, self.0, signature.as_slice().try_into().ok()?) {
            return None;
        }
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

fn encode(part: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(part)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_signature_is_hmac_sha256() {
        // Computed with OpenSSL: printf %s "$header.$claims" | openssl dgst -sha256 -hmac "$key" -binary | basenc --base64url
        let signer = Signer::new(*b"0123456789abcdef0123456789abcdef");
        let token = signer.sign(&json!({ "sub": "client" }));
        assert_eq!(
            token,
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJjbGllbnQifQ.xRTQJbU7VIQXxAezlR6UE6WWZz2OMzOmJfK6YcQiRI8"
        );
        assert_eq!(signer.verify(&token), Some(json!({ "sub": "client" })));
    }

    #[test]
    fn only_whole_tokens_of_the_same_key_are_verified() {
        let signer = Signer::new([1; 32]);
        let token = signer.sign(&json!({ "sub": "client" }));
        assert_eq!(Signer::new([2; 32]).verify(&token), None);
        for end in 0..token.len() {
            assert_eq!(signer.verify(&token[..end]), None, "{end}");
        }
        let unsigned = token.replacen(&encode(HEADER), &encode(r#"{"alg":"none","typ":"JWT"}"#), 1);
        assert_eq!(signer.verify(&unsigned), None);
    }
}
