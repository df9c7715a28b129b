//! A JSON document, reduced to the fields that a token response can contain.

use std::{fmt, time::Duration};

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, SeqAccess, Visitor},
};
use zeroize::Zeroizing;

use super::saturating_seconds;

/// A JSON value. Reading it fails only if the JSON is malformed or nested deeper than 128 levels
/// (serde_json's limit). All other problems are found later, so that their errors can name the
/// field.
pub(super) enum Node<'de> {
    Null,
    Number(Duration),
    Borrowed(&'de str),
    /// A text that contained escapes. It may be the access token, so it is zeroised.
    Unescaped(Zeroizing<String>),
    Object(Box<Fields<'de>>),
    /// A boolean or an array, which no field expects.
    Other,
}

impl Node<'_> {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Borrowed(text) => Some(text),
            Self::Unescaped(text) => Some(text),
            _ => None,
        }
    }
}

/// The fields that token responses use, in both spellings.
#[derive(Default)]
pub(super) struct Fields<'de> {
    pub(super) data: Option<Node<'de>>,
    pub(super) access_token: Option<Node<'de>>,
    pub(super) expires_in: Option<Node<'de>>,
    pub(super) token_type: Option<Node<'de>>,
    pub(super) request_id: Option<Node<'de>>,
    /// A field that occurs more than once, in one spelling or in both.
    pub(super) repeated: Option<TokenField>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
pub(super) enum TokenField {
    Data,
    #[serde(alias = "access_token")]
    AccessToken,
    #[serde(alias = "expires_in")]
    ExpiresIn,
    #[serde(alias = "token_type")]
    TokenType,
    #[serde(alias = "request_id")]
    RequestId,
    #[serde(other)]
    Unknown,
}

impl<'de> Fields<'de> {
    fn insert(&mut self, key: TokenField, value: Node<'de>) {
        let slot = match key {
            TokenField::Data => &mut self.data,
            TokenField::AccessToken => &mut self.access_token,
            TokenField::ExpiresIn => &mut self.expires_in,
            TokenField::TokenType => &mut self.token_type,
            TokenField::RequestId => &mut self.request_id,
            TokenField::Unknown => return,
        };
        if slot.replace(value).is_some() {
            self.repeated.get_or_insert(key);
        }
    }
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Node::Other)
    }

    fn visit_u64<E>(self, seconds: u64) -> Result<Self::Value, E> {
        Ok(Node::Number(Duration::from_secs(seconds)))
    }

    fn visit_i64<E>(self, seconds: i64) -> Result<Self::Value, E> {
        Ok(Node::Number(u64::try_from(seconds).map_or(Duration::ZERO, Duration::from_secs)))
    }

    fn visit_f64<E>(self, seconds: f64) -> Result<Self::Value, E> {
        Ok(Node::Number(saturating_seconds(seconds)))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Node::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Node::Unescaped(Zeroizing::new(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        // The elements are read as nodes and not skipped, because serde_json skips values nested to
        // any depth.
        while elements.next_element::<Node<'de>>()?.is_some() {}
        Ok(Node::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut fields = Box::<Fields<'de>>::default();
        while let Some((key, value)) = entries.next_entry()? {
            fields.insert(key, value);
        }
        Ok(Node::Object(fields))
    }
}
