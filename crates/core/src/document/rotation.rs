//! Rotation secrets, as the usual Secrets Manager SSH rotation function writes them: one key in an
//! object with `PublicKey`.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Document, LeftOut, PublishedKey, Refused, Rules, bare, described, private};
use crate::key::{BadLine, Examination, KeyLine};

/// The message for a rotation secret with options in `PublicKey`.
const NO_OPTIONS: &str = "PublicKey holds options before the key, for which a rotation secret has \
                          no place; leave `type base64 comment` there, and publish the options in \
                          a JSON document of version 1";

/// The fields that distinguish a rotation secret from a JSON document.
#[derive(Deserialize)]
struct RotationProbe<'a> {
    #[serde(borrow)]
    version: Option<&'a RawValue>,
    #[serde(rename = "PublicKey", borrow)]
    public_key: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RotationFields {
    #[serde(rename = "PublicKey")]
    public_key: String,
}

/// Whether an object has `PublicKey` and no `version`.
pub(super) fn is_rotation(payload: &[u8]) -> bool {
    serde_json::from_slice::<RotationProbe<'_>>(payload)
        .is_ok_and(|probe| probe.version.is_none() && probe.public_key.is_some())
}

/// Why JSON that may be meant as a rotation secret is not a valid one: a field occurs twice.
pub(super) fn fault(payload: &str) -> Option<String> {
    match serde_json::from_str::<RotationProbe<'_>>(payload) {
        Ok(_) => None,
        Err(fault) => Some(described(fault)),
    }
}

/// Reads the one key. Every field but `PublicKey` is ignored, and `PrivateKey` is rejected unless
/// allowed.
pub(super) fn parse(
    payload: &[u8],
    rules: &Rules,
    examination: Examination,
) -> Result<Document, Refused> {
    if !rules.allow_private_key {
        private::refuse(payload)?;
        // Every other field is ignored, so a value that cannot be searched could hide a private
        // key.
        private::searchable(payload).map_err(|e| Refused::Json(described(e)))?;
    }
    let secret: RotationFields =
        serde_json::from_slice(payload).map_err(|e| Refused::Json(described(e)))?;
    private::refuse(secret.public_key.as_bytes())?;
    let mut keys = Vec::new();
    let mut left_out = Vec::new();
    match KeyLine::examine_parts(&secret.public_key, &[], &rules.line, examination) {
        Ok(line) => keys.push(PublishedKey::unbounded(line, 1)),
        Err(BadLine::OptionsInKey) => left_out.push(LeftOut {
            line: 1,
            reason: NO_OPTIONS.to_owned(),
        }),
        Err(fault) => left_out.push(LeftOut {
            line: 1,
            reason: described(fault),
        }),
    }
    Ok(bare(keys, left_out, payload))
}

/// The same secret without its private half.
pub(super) fn public_half(payload: &[u8]) -> Option<Vec<u8>> {
    let secret: RotationFields = serde_json::from_slice(payload).ok()?;
    serde_json::to_vec(&serde_json::json!({ "PublicKey": secret.public_key })).ok()
}
