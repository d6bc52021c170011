//! Man pages and completions come from the table of the command line and from docs/configure.md;
//! here they are held to what the built programs say, to the tools that read them, and to one
//! version.

#[path = "../../examples/manual/completions.rs"]
mod completions;
#[path = "../../examples/manual/pages.rs"]
mod pages;
#[path = "../../examples/manual/settings.rs"]
mod settings;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use authkeys_testing::{clean_command, clean_ctl, outcome_of};
use tempfile::TempDir;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// All files, as the generator writes them.
fn generated() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in pages::all("2026-11-24")
        .unwrap()
        .into_iter()
        .chain(completions::all())
    {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn page(name: &str) -> String {
    let (_, text) = pages::all("2026-11-24")
        .unwrap()
        .into_iter()
        .find(|(file, _)| file == name)
        .unwrap();
    String::from_utf8(text).unwrap()
}

/// A page as a person reads it, without markup and in one line.
fn read(name: &str) -> String {
    let mut text = page(name);
    for (markup, plain) in [
        ("\\fB", ""),
        ("\\fI", ""),
        ("\\fR", ""),
        ("\\-", "-"),
        ("\\*(Aq", "'"),
        ("\\.", "."),
        ("\\&", ""),
    ] {
        text = text.replace(markup, plain);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Runs one of the programs.
fn says(program: fn() -> Command, arguments: &[&str]) -> String {
    let run = outcome_of(program().args(arguments));
    run.succeeds();
    run.stdout
}

/// The commands that a program's help lists.
fn commands(help: &str) -> Vec<String> {
    let table = help
        .split("Commands:\n")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let names = table
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names
        .filter(|name| *name != "help" && !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The long options in a text.
fn options(text: &str) -> BTreeSet<String> {
    let words = text.split(|sign: char| !(sign.is_ascii_lowercase() || sign == '-'));
    words
        .filter(|word| word.len() > 3 && word.starts_with("--"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_command_option_and_exit_code_of_the_help_is_in_the_man_page_and_in_each_shell() {
    let dir = generated();
    for (program, name, section) in [
        (clean_command as fn() -> Command, "authkeysd", "8"),
        (clean_ctl as fn() -> Command, "authkeysctl", "1"),
    ] {
        let text = read(&format!("{name}.{section}"));
        let shells = [
            format!("{name}.bash"),
            format!("_{name}"),
            format!("{name}.fish"),
        ];
        let shells = shells.map(|file| std::fs::read_to_string(dir.path().join(file)).unwrap());
        let help = says(program, &["--help"]);
        let commands = commands(&help);
        assert!(!commands.is_empty());
        for command in &commands {
            let help = says(program, &[command, "--help"]);
            let (_, own) = text
                .split_once(&format!(".SS \"{name} {command}\""))
                .expect(command);
            let own = own.split(".S").next().unwrap();
            for option in options(&help)
                .iter()
                .filter(|o| !["--help", "--version", "--config"].contains(&o.as_str()))
            {
                assert!(
                    own.contains(option.as_str()),
                    "{option} is not in {name}({section}) under {command}: {own}"
                );
                for shell in &shells {
                    // fish names long options without their hyphens.
                    let named = shell.contains(option.as_str())
                        || shell.contains(&format!("-l {}", option.trim_start_matches('-')));
                    assert!(named, "{name} {command} {option}: {shell}");
                }
            }
        }
        let codes = help.split("Exit codes:\n").nth(1).unwrap();
        for line in codes.lines().filter(|line| line.starts_with("  ")) {
            let (code, meaning) = line.trim().split_once("  ").unwrap();
            assert!(
                text.contains(&format!(".TP {code} {meaning}")),
                "exit code {line:?}: {text}"
            );
        }
    }
}

#[test]
fn each_key_of_the_configuration_is_in_its_man_page_with_a_word_about_it() {
    let page = page("authkeysd.toml.5");
    let example: toml::Table = toml::from_str(include_str!("../../examples/config.toml")).unwrap();
    let mut keys = BTreeSet::from(["splay".to_owned()]);
    for (key, value) in &example {
        match value {
            toml::Value::Table(table) => keys.extend(table.keys().cloned()),
            toml::Value::Array(tables) => {
                keys.extend(
                    tables
                        .iter()
                        .flat_map(|table| table.as_table().unwrap().keys().cloned()),
                );
            }
            _ => {
                keys.insert(key.clone());
            }
        }
        if value.is_table() || value.is_array() {
            assert!(page.contains(&format!("{key}]")), "table {key}");
        }
    }
    assert!(keys.len() > 15, "{keys:?}");
    for key in keys {
        let (_, after) = page
            .split_once(&format!("\\fB{key}\\fR = "))
            .unwrap_or_else(|| panic!("{key} is not in it"));
        // The line that follows the tag is the text.
        let text = after.lines().nth(1).unwrap();
        assert!(text.len() > 10 && !text.starts_with('.'), "{key}: {text:?}");
    }
}

#[test]
fn the_tools_that_read_man_pages_find_no_fault_in_them() {
    if !authkeys_testing::has(&["mandoc"]) {
        return;
    }
    let dir = generated();
    for page in ["authkeysd.8", "authkeysd.toml.5", "authkeysctl.1"] {
        let output = Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning", page])
            .current_dir(dir.path())
            .output();
        let output = output.unwrap();
        let told = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success() && told.is_empty(),
            "{page}: {}",
            String::from_utf8_lossy(&told)
        );
    }
}

#[test]
fn the_shells_take_their_completions_and_bash_completes() {
    let dir = generated();
    for (shell, suffix) in [("bash", ".bash"), ("zsh", ""), ("fish", ".fish")] {
        if !authkeys_testing::has(&[shell]) {
            continue;
        }
        for program in ["authkeysd", "authkeysctl"] {
            let name = if suffix.is_empty() {
                format!("_{program}")
            } else {
                format!("{program}{suffix}")
            };
            let output = Command::new(shell)
                .arg("-n")
                .arg(dir.path().join(&name))
                .output()
                .unwrap();
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{name}: {output:?}"
            );
        }
    }
    let script = "source authkeysd.bash; COMP_WORDS=(authkeysd sync --a); COMP_CWORD=2
        _authkeysd authkeysd --a sync; echo \"${COMPREPLY[*]}\"";
    let output = Command::new("bash")
        .args(["-c", script])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "--accept-rollback\n",
        "{output:?}"
    );
    // Every flag of every command of the companion.
    let commands = authkeysctl::table();
    for command in commands.get_subcommands() {
        let name = command.get_name();
        let script = format!(
            "source authkeysctl.bash; COMP_WORDS=(authkeysctl {name} --); COMP_CWORD=2
            _authkeysctl authkeysctl -- {name}; echo \"${{COMPREPLY[*]}}\""
        );
        let output = Command::new("bash")
            .args(["-c", &script])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let told: Vec<&str> = text.split_whitespace().collect();
        for flag in command
            .get_arguments()
            .filter_map(|argument| argument.get_long())
        {
            assert!(
                told.contains(&format!("--{flag}").as_str()),
                "{name}: --{flag}: {told:?}"
            );
        }
    }
}

#[test]
fn one_version_stands_everywhere() {
    assert_eq!(
        says(clean_command, &["--version"]),
        format!("authkeysd {VERSION}\n")
    );
    assert_eq!(
        says(clean_ctl, &["--version"]),
        format!("authkeysctl {VERSION}\n")
    );
    let changes = include_str!("../../CHANGELOG.md");
    let newest = changes
        .lines()
        .find_map(|line| line.strip_prefix("## "))
        .unwrap();
    assert_eq!(
        newest.split(' ').next(),
        Some(VERSION),
        "the newest heading of CHANGELOG.md"
    );
    for name in ["authkeysd.8", "authkeysd.toml.5", "authkeysctl.1"] {
        let page = page(name);
        let title = page.lines().find(|line| line.starts_with(".TH ")).unwrap();
        assert!(
            title.contains(&format!("\"authkeysd {VERSION}\"")),
            "{name}: {title}"
        );
    }
}
