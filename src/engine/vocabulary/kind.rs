//! Kinds of tokens.

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Control,
    UserDefined,
    /// A single byte, for text without other tokens.
    Byte(u8),
    Unknown,
}

/// The byte of a token such as `<0x0A>`.
pub(super) fn byte_of(text: &str) -> Option<u8> {
    u8::from_str_radix(text.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok()
}
