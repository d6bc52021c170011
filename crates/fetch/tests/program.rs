//! The built program. That there is a test of it here has `cargo test` build it for the tests of the whole, in which authkeysd
//! starts it.

use std::process::{Command, Stdio};

#[test]
fn it_says_what_it_is_to_somebody_who_starts_it_by_hand() {
    let output = Command::new(env!("CARGO_BIN_EXE_authkeysd-fetch")).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.starts_with("authkeysd-fetch: this is a part of authkeysd") && said.lines().count() == 1, "{said}");
}
