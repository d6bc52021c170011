//! The guide for publishers tells the truth: its commands run, its policy is JSON, its exit codes
//! are the program's.

use std::collections::BTreeSet;
use std::process::Stdio;

use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, authkeysctl, blocks, clean_ctl, outcome_of, stand_in};

use crate::desk::{document, serial};

const GUIDE: &str = include_str!("../../../../docs/publish.md");
/// Where the options are that `--wait` takes.
const FLEET: &str = include_str!("../../../../docs/fleet.md");

#[test]
fn every_command_of_the_guide_does_what_it_says() {
    if !Moto::prepare() {
        return;
    }
    let moto = Moto::start();
    moto.make_bucket("acme-ssh-keys");
    let desk = tempfile::tempdir().unwrap();
    let (ops, key) = (Key::new("ops"), Key::new("k"));
    std::fs::create_dir(desk.path().join(".ssh")).unwrap();
    std::fs::copy(ops.private(), desk.path().join(".ssh/ops")).unwrap();
    std::fs::write(
        desk.path().join("allowed_signers"),
        format!("ops@acme namespaces=\"authkeysd\" {}\n", ops.bare()),
    )
    .unwrap();
    std::fs::write(desk.path().join("keys.json"), document(Some(1), &[&key])).unwrap();
    let program = authkeys_testing::program("authkeysctl")
        .parent()
        .unwrap()
        .to_owned();
    let mut ran = 0;
    for line in
        blocks(GUIDE, "sh").flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
    {
        let mut shell = clean_ctl();
        let environment: Vec<_> = shell
            .get_envs()
            .map(|(name, value)| (name.to_owned(), value.unwrap().to_owned()))
            .collect();
        shell = std::process::Command::new("sh");
        shell
            .env_clear()
            .envs(environment)
            .arg("-c")
            .arg(&line)
            .current_dir(desk.path())
            .stdin(Stdio::null());
        shell
            .env("PATH", format!("{}:/usr/bin:/bin", program.display()))
            .env("HOME", desk.path());
        shell.envs(stand_in(&moto.endpoint()));
        let run = outcome_of(&mut shell);
        assert_eq!(run.status, 0, "{line}: {run:?}");
        ran += 1;
    }
    assert!(ran > 7, "{ran}");
    let published = moto.object("acme-ssh-keys", "prod/workers.json");
    assert!(
        serial(&published) == 2 && published.contains("BEGIN SSH SIGNATURE"),
        "{published}"
    );
}

#[test]
fn the_policy_and_the_exit_codes_are_right() {
    let policy =
        std::fs::read_to_string(authkeys_testing::checkout().join("examples/iam/publisher.json"))
            .unwrap();
    for (action, told) in policy
        .split('"')
        .filter_map(|word| Some((word, word.split_once(':')?.1)))
    {
        let asked = ["s3:", "secretsmanager:", "ssm:"]
            .iter()
            .any(|service| action.starts_with(service))
            && !action.contains('/');
        assert!(
            !asked || told == "prefix" || GUIDE.contains(told),
            "{action}"
        );
    }
    let codes = |text: &str| {
        text.lines()
            .filter_map(|line| line.split_whitespace().next()?.parse::<u8>().ok())
            .collect::<BTreeSet<_>>()
    };
    let (_, table) = GUIDE.split_once("## Exit status").unwrap();
    let told = codes(&table.replace("| ", ""));
    let help = authkeysctl(["--help"]).stdout;
    assert_eq!(told, codes(help.split_once("Exit codes:").unwrap().1));
    for command in ["lint", "sign", "verify", "publish"] {
        let help = authkeysctl([command, "--help"]).stdout;
        for option in help
            .split_whitespace()
            .filter(|word| word.starts_with("--") && *word != "--help")
        {
            let option = option.trim_end_matches([',', '.']);
            assert!(
                GUIDE.contains(option) || FLEET.contains(option) || option == "--output",
                "docs/publish.md does not name {option} of {command}"
            );
        }
    }
}
