//! The fields of a key's blob (RFC 4251, section 5).

/// Reads RFC 4251 fields from the start of a slice.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// A field of bytes, preceded by its length.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (string, rest) =
            rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        self.0 = rest;
        Some(string)
    }

    /// A field that is UTF-8.
    pub fn text(&mut self) -> Option<&'a str> {
        let text = std::str::from_utf8(self.string()?).ok()?;
        if text.is_empty() || text.len() > 256 {
            return None;
        }
        Some(text)
    }

    pub(super) fn fixed(&mut self, length: usize) -> Option<Vec<u8>> {
        let bytes = self.string()?;
        if bytes.len() != length {
            return None;
        }
        Some(bytes.to_vec())
    }

    /// A positive integer, with exactly the one leading zero that keeps it positive.
    pub(super) fn mpint(&mut self) -> Option<Vec<u8>> {
        let bytes = self.string()?;
        if has_high_bit(bytes) {
            return None; // Negative: sshd refuses it.
        }
        let digits = digits(bytes);
        let mut number = Vec::with_capacity(digits.len() + 1);
        if has_high_bit(digits) {
            number.push(0);
        }
        number.extend_from_slice(digits);
        Some(number)
    }
}

/// A positive integer without its leading zeros.
pub(super) fn digits(mpint: &[u8]) -> &[u8] {
    let mut digits = mpint;
    while let [0, rest @ ..] = digits {
        digits = rest;
    }
    digits
}

fn has_high_bit(bytes: &[u8]) -> bool {
    matches!(bytes, [high, ..] if high & 0x80 != 0)
}
