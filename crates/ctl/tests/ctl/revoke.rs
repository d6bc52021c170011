//! `authkeysctl revoke`: keys go out of a published key set, by fingerprint, comment or file.

use authkeys_testing::Key;

use crate::bucket::Bucket;
use crate::desk::document;

#[test]
fn what_is_revoked_is_named_and_what_matches_nothing_is_an_error() {
    let (one, two, other) = (Key::new("one"), Key::new("two"), Key::new("other"));
    let Some(bucket) = Bucket::with(&document(Some(1), &[&one, &two])) else {
        return;
    };
    let before = bucket.published();
    let print = other.fingerprint();
    bucket.revoke(&[&print]).fails(
        1,
        &[&[
            "no key there matches",
            &print,
            "--unlisted",
            "nothing was written",
        ]],
    );
    bucket.revoke(&["comment:three*"]).fails(
        1,
        &[&["no key there matches comment:three*", "nothing was written"]],
    );
    bucket
        .revoke(&["SHA256:short"])
        .fails(64, &[&["is not a fingerprint"]]);
    bucket
        .revoke(&["/nonexistent"])
        .fails(1, &[&["cannot read /nonexistent"]]);
    let dry = bucket.revoke(&[&two.fingerprint(), "--dry-run"]);
    dry.succeeds();
    assert!(
        dry.stdout
            .contains(&format!("  - {} ssh-ed25519 two\n", two.fingerprint())),
        "{dry:?}"
    );
    assert!(
        dry.stdout
            .contains(&format!("  + revoked {}\n", two.fingerprint())),
        "{dry:?}"
    );
    assert_eq!(bucket.published(), before);

    bucket.revoke(&[&print, "--unlisted"]).succeeds();
    assert!(bucket.published().contains(&print));
    let file = bucket.desk.file("two.pub", &two.line);
    bucket.revoke(&[file.to_str().unwrap()]).succeeds();
    let text = bucket.published();
    assert!(
        !text.contains(two.base64()) && text.contains(&two.fingerprint()),
        "{text}"
    );
    // Once more: nothing is to be done, and that is good.
    let again = bucket.revoke(&[&two.fingerprint()]);
    again.fails(0, &[&["is already revoked there"]]);
    assert_eq!(bucket.published(), text);

    // The last key.
    let run = bucket.revoke(&["comment:one"]);
    run.fails(
        1,
        &[
            &[
                "warning: nodes with [policy] min_keys = 1 or more",
                "keep such an account's last keys",
            ],
            &["warning: accounts that no key names: all of its keys go (1 key)"],
            &["nothing was written", "--yes"],
        ],
    );
    assert_eq!(bucket.published(), text);
    let run = bucket.revoke(&["comment:one", "--yes"]);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(
        bucket.published().contains("\"keys\": []"),
        "{}",
        bucket.published()
    );
}
