//! The rules that inputs are judged by, and what every text of ours keeps to.

use std::collections::BTreeSet;

use authkeys_core::document::Rules;
use authkeys_core::key::{LineRules, OptionPolicy};

/// Every option that sshd knows.
const OPTIONS: [&str; 14] = [
    "restrict",
    "cert-authority",
    "no-*",
    "pty",
    "agent-forwarding",
    "port-forwarding",
    "x11-forwarding",
    "user-rc",
    "command",
    "environment",
    "expiry-time",
    "from",
    "permitopen",
    "permitlisten",
];

/// The default policy.
pub(crate) fn usual() -> LineRules {
    LineRules {
        min_rsa_bits: 2_048,
        options: OptionPolicy::Restricting,
    }
}

/// A policy that lets everything in that could be written.
pub(crate) fn generous() -> LineRules {
    let further = [
        "principals",
        "tunnel",
        "touch-required",
        "no-touch-required",
        "verify-required",
    ];
    let names = OPTIONS
        .iter()
        .chain(&further)
        .map(|name| (*name).to_owned());
    LineRules {
        min_rsa_bits: 1_024,
        options: OptionPolicy::Only(BTreeSet::from_iter(names)),
    }
}

/// How a document is read that must not hold a private key.
pub(crate) fn strict(line: LineRules) -> Rules {
    Rules {
        line,
        allow_private_key: false,
    }
}

/// Nothing that would break a line, move a cursor or hide itself.
pub(crate) fn assert_clean(text: &str) {
    let hidden = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{e0020}'..='\u{e007f}');
    assert!(
        !text.contains(|c: char| c.is_control() || hidden(c)),
        "not clean: {text:?}"
    );
}
