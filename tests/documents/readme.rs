//! The README tells the truth: its configurations are good, its make targets and paths exist.

use std::path::Path;

use authkeys_testing::{Key, lab, login};

const README: &str = include_str!("../../README.md");
const CONTRIBUTING: &str = include_str!("../../CONTRIBUTING.md");
const MAKEFILE: &str = include_str!("../../Makefile");

#[test]
fn each_configuration_in_the_readme_is_good() {
    let blocks: Vec<String> = authkeys_testing::blocks(README, "toml").collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        assert_config_is_good(&block);
    }
}

/// By the program itself. The accounts need not exist here, so only the words about the
/// configuration count: exit status 78 for a fault in it, 64 for a command that is none.
fn assert_config_is_good(text: &str) {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    std::fs::write(&config, text).unwrap();
    let run = authkeys_testing::authkeysd(["--config", config.to_str().unwrap(), "check"]);
    assert!(
        ![64, 78, -1].contains(&run.status),
        "{}{}\nof:\n{text}",
        run.stdout,
        run.stderr
    );
}

/// For an account of the lab, with the files in a place that a test may write.
#[test]
fn the_first_configuration_and_the_commands_below_it_lead_to_a_login() {
    lab(|| {
        let (key, dir) = (Key::new("k"), tempfile::tempdir().unwrap());
        let place = dir.path().to_str().unwrap();
        let config = authkeys_testing::blocks(README, "toml").next().unwrap();
        let config = config
            .replace("/etc/authkeysd", place)
            .replace("\"ubuntu\"", "\"alice\"");
        std::fs::write(dir.path().join("config.toml"), config).unwrap();
        std::fs::write(dir.path().join("keys"), format!("{}\n", key.line)).unwrap();
        let (_, below) = README.split_once("```toml").unwrap();
        let commands = authkeys_testing::blocks(below, "sh").next().unwrap();
        let commands = commands
            .lines()
            .map(|line| line.split('#').next().unwrap().trim());
        let mut ended = Vec::new();
        for line in commands.filter_map(|line| line.strip_prefix("authkeysd ")) {
            let mut command = authkeys_testing::clean_command();
            command
                .env("AUTHKEYSD_CONFIG", dir.path().join("config.toml"))
                .args(line.split(' '));
            let run = authkeys_testing::outcome_of(&mut command);
            assert_eq!(run.stderr, "", "{line}");
            ended.push((line, run.status));
        }
        assert_eq!(
            ended,
            [
                ("check", 0),
                ("sync --dry-run", 3),
                ("sync", 0),
                ("status", 0)
            ]
        );
        assert!(login("alice", &key));
    });
}

#[test]
fn each_make_target_that_is_named_exists() {
    let targets: Vec<&str> = named("make ").collect();
    assert!(
        targets.contains(&"demo") && targets.contains(&"test"),
        "{targets:?}"
    );
    for target in targets {
        assert!(
            MAKEFILE
                .lines()
                .any(|line| line.starts_with(&format!("{target}:"))),
            "make {target}"
        );
    }
}

#[test]
fn each_path_in_the_map_for_contributors_exists() {
    let table = CONTRIBUTING
        .split("## Where things are")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let rows = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let paths: Vec<&str> = rows
        .flat_map(|cell| cell.split(['`', ',', ' ']).filter(|path| !path.is_empty()))
        .collect();
    assert!(paths.len() > 5, "{paths:?}");
    for path in paths {
        assert!(
            Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(),
            "{path}"
        );
    }
}

#[test]
fn each_document_is_one_hop_from_the_readme() {
    for document in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap() {
        let name = format!("(docs/{}", document.unwrap().file_name().to_str().unwrap());
        assert!(README.contains(&name), "{name} is not linked");
    }
}

/// The words that follow `command` where it starts a line or a code span.
fn named(command: &str) -> impl Iterator<Item = &'static str> {
    README
        .match_indices(command)
        .filter(|(at, _)| {
            README
                .as_bytes()
                .get(at.wrapping_sub(1))
                .is_some_and(|before| matches!(before, b'`' | b'\n'))
        })
        .filter_map(move |(at, _)| {
            README
                .get(at + command.len()..)?
                .split(|sign: char| !sign.is_ascii_lowercase())
                .next()
        })
}
