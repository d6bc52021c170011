//! The built program. That there is a test of it here has `cargo test` build it for the tests of
//! the whole, which run it beside authkeysd.

use std::process::Command;

#[test]
fn the_program_has_the_packages_version_and_lists_its_commands() {
    let run = |argument: &str| {
        let output = Command::new(authkeys_testing::program("authkeysctl"))
            .arg(argument)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        run("--version"),
        format!("authkeysctl {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = run("--help");
    for command in ["lint", "sign", "verify", "publish", "fleet"] {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command}: {help}"
        );
    }
}
