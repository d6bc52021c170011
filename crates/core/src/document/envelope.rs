//! A JSON document and the armored SSH signature that may follow it.

use super::Refused;

const BEGIN: &[u8] = b"-----BEGIN SSH SIGNATURE-----";
const END: &[u8] = b"-----END SSH SIGNATURE-----";

/// A document taken apart; the signature covers exactly the bytes of `payload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Every byte before the signature's first line.
    pub payload: &'a [u8],
    /// The armored signature with its BEGIN and END lines.
    pub signature: Option<&'a [u8]>,
}

impl<'a> Envelope<'a> {
    /// Splits at the first line that starts a signature. Only white space may follow the END line.
    pub fn split(bytes: &'a [u8]) -> Result<Self, Refused> {
        let Some(begin) = line_starting(bytes, BEGIN) else {
            if line_starting(bytes, END).is_some() {
                return Err(Refused::Signature(
                    "its BEGIN line does not start a line: end the JSON in a line feed",
                ));
            }
            return Ok(Self {
                payload: bytes,
                signature: None,
            });
        };
        let (payload, rest) = bytes.split_at_checked(begin).unwrap_or((bytes, &[]));
        let end = line_starting(rest, END).ok_or(Refused::Signature(
            "its END line is missing, it was cut off",
        ))?;
        let (signature, after) = rest
            .split_at_checked(end + END.len())
            .unwrap_or((rest, &[]));
        if after.iter().all(u8::is_ascii_whitespace) {
            Ok(Self {
                payload,
                signature: Some(signature),
            })
        } else {
            Err(Refused::Signature("something follows its END line"))
        }
    }
}

fn line_starting(bytes: &[u8], marker: &[u8]) -> Option<usize> {
    let mut start = 0;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        if line.starts_with(marker) {
            return Some(start);
        }
        start += line.len();
    }
    None
}
