//! JSON documents and rotation secrets. A NUL, which JSON cannot hold, ends the document; what
//! follows it is the file that is there already.

use authkeys_core::document::{self, Rules};

use super::rules::{generous, strict, usual};
use super::{key_set, plans};

/// Reads the document by either policy, renders it and reads it again, and plans with it. Whether
/// it is a good one.
pub fn check(input: &[u8]) -> bool {
    let (document, present) = key_set::split(input);
    let mut good = false;
    for rules in [generous(), usual()] {
        let Some(parsed) = key_set::parse(document, &strict(rules.clone())) else {
            continue;
        };
        key_set::check(&parsed, &rules);
        // What the usual policy lets in makes the same plans under the other one.
        if !good {
            plans::check(&parsed, present);
        }
        good = true;
    }
    check_rotation(document);
    good
}

/// Of a rotation secret only its public half is kept, and that says the same.
fn check_rotation(document: &[u8]) {
    let rules = Rules {
        line: usual(),
        allow_private_key: true,
    };
    let allowed = document::parse(document, &rules);
    if let Ok(refusing) = document::parse(document, &strict(usual())) {
        assert_eq!(
            allowed.as_ref(),
            Ok(&refusing),
            "allow_private_key only allows"
        );
    }
    let (Ok(allowed), Some(kept)) = (allowed, document::public_half(document)) else {
        return;
    };
    let again =
        document::parse(&kept, &strict(usual())).expect("what is kept holds no private key");
    assert_eq!(
        (again.keys, again.left_out),
        (allowed.keys, allowed.left_out)
    );
}
