//! Options in front of a key, and what makes sshd ignore a line for them.

use authkeys_testing::{Key, sshd_version};

use super::{Row, measure, row};
use crate::ours;

/// One row for each options field, in front of the bare key.
fn options(key: &Key, fields: &[(&'static str, bool)]) -> Vec<Row> {
    fields
        .iter()
        .map(|(field, accepted)| row(field, format!("{field} {}\n", key.bare()), *accepted))
        .collect()
}

/// Options, and what makes sshd ignore a line for them.
pub(crate) fn option_lists() {
    let key = Key::new("k");
    let known = ours::is_known_to_sshd;
    let mut rows = options(
        &key,
        &[
            ("restrict", true),
            (",restrict", true),
            ("restrict,,pty", true),
            ("restrict,", true),
            (",", true),
            ("no-restrict", false),
            ("restrict=\"\"", false),
            ("pty", true),
            (
                "no-pty,no-agent-forwarding,no-port-forwarding,no-x11-forwarding,no-user-rc",
                true,
            ),
            (
                "restrict,agent-forwarding,port-forwarding,x11-forwarding,user-rc",
                true,
            ),
            ("NO-PTY", true),
            ("verify-required", known("verify-required")),
            ("no-verify-required", known("no-verify-required")),
            ("touch-required", known("touch-required")),
            ("no-touch-required", known("no-touch-required")),
            ("command=\"\"", true),
            ("command", false),
            ("command=\"true\",command=\"true\"", false),
            ("command=\"a\\\"b\"", true),
            ("command=\"a\\\\\"", false),
            ("command=\"true", false),
            ("no-command", false),
            ("\"restrict\"", false),
            ("command=\"true\"x", false),
        ],
    );
    rows.extend(options(
        &key,
        &[
            ("environment=\"X=Y\"", true),
            ("environment=\"X\"", false),
            ("environment=\"=Y\"", false),
            ("environment=\"\"", false),
            ("permitopen=\"host:22\"", true),
            ("permitopen=\"host:*\"", true),
            ("permitopen=\"host\"", false),
            ("permitopen=\"22\"", false),
            ("permitopen=\"\"", false),
            ("permitopen=\"[::1]:22\"", true),
            ("permitopen=\"host:99999\"", false),
            ("permitlisten=\"22\"", true),
            ("permitlisten=\"localhost:22\"", true),
            ("permitlisten=\"host\"", false),
            ("permitlisten=\"\"", false),
            ("tunnel=\"1\"", true),
            ("tunnel=\"any\"", true),
            ("tunnel=\"abc\"", false),
            ("tunnel=\"\"", false),
        ],
    ));
    measure(&key, &rows);
}

/// Options that let a key in from some places, or for some time.
pub(crate) fn from_and_expiry_time() {
    let key = Key::new("k");
    let utc = sshd_version() >= (9, 1);
    let mut rows = options(
        &key,
        &[
            ("from=\"127.0.0.1\"", true),
            ("FROM=\"127.0.0.1\"", true),
            ("from=\"127.0.0.0/8\"", true),
            ("from=\"127.0.0.1/8\"", false),
            ("from=\"10.0.0.0/8\"", false),
            ("FROM=\"10.0.0.0/8\"", false),
            ("from=\"\"", false),
            ("from=\"*\"", true),
            ("from=\"!127.0.0.1,*\"", false),
            ("from=\"!10.0.0.0/8\"", false),
            ("from=\"!10.0.0.1,!*.example.org\"", false),
            ("from=\"!10.0.0.0/8,*\"", true),
            ("from=\"10.0.0.0/8,127.0.0.1\"", true),
            ("from=\"10.0.0.0/8, 127.0.0.1\"", false),
            ("from=\"127.0.0.1\",from=\"127.0.0.1\"", false),
            ("from=127.0.0.1", false),
        ],
    );
    rows.extend(options(
        &key,
        &[
            ("expiry-time=\"20990101\"", true),
            ("expiry-time=\"209901010000\"", true),
            ("expiry-time=\"20990101000000\"", true),
            ("expiry-time=\"20990101Z\"", utc),
            ("expiry-time=\"209901010000Z\"", utc),
            ("expiry-time=\"20990101000000Z\"", utc),
            ("expiry-time=\"20990101000000z\"", utc),
            ("expiry-time=\"20991301\"", false),
            ("expiry-time=\"20990132\"", false),
            ("expiry-time=\"20990230\"", true),
            ("expiry-time=\"20990101246060\"", false),
            ("expiry-time=\"2099010100\"", false),
            ("expiry-time=\"2099-01-01\"", false),
            ("expiry-time=\"\"", false),
            ("expiry-time=\"20990101\",expiry-time=\"20980101\"", true),
            ("expiry-time=\"20990101\",expiry-time=\"20200101\"", false),
            ("expiry-time=\"20200101\",expiry-time=\"20990101\"", false),
            ("EXPIRY-TIME=\"20990101\"", true),
        ],
    ));
    measure(&key, &rows);
}
