//! Version, changelog, example and reference agree with the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use authkeys_core::config::Config;
use authkeys_testing::Setup;
use serde_json::Value;

const EXAMPLE: &str = include_str!("../../examples/config.toml");
const OUTPUT: &str = include_str!("../../docs/output.md");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const ARCHITECTURE: &str = include_str!("../../docs/architecture.md");
const THREATS: &str = include_str!("../../docs/threats.md");
const CONFIGURE: &str = include_str!("../../docs/configure.md");
const OPERATE: &str = include_str!("../../docs/operate.md");
const CHANGELOG: &str = include_str!("../../CHANGELOG.md");

#[test]
fn the_example_is_good_and_shows_every_key() {
    Config::parse(EXAMPLE).unwrap();
    // The program itself lists its keys when it meets one that it does not know.
    let unknown =
        "zz = 1\n[[account]]\nzz = 1\n[trust]\nzz = 1\n[policy]\nzz = 1\n[report]\nzz = 1\n";
    let faults = Config::parse(unknown).unwrap_err();
    let known: BTreeSet<String> = faults
        .iter()
        .filter_map(|fault| fault.message.split_once("known here: "))
        .flat_map(|(_, keys)| keys.split(", ").map(str::to_owned))
        .collect();
    assert!(known.len() > 15, "{known:?}");
    for key in known {
        let shown = EXAMPLE.lines().any(|line| {
            line.starts_with(&format!("[{key}]")) || line.starts_with(&format!("[[{key}]]")) || {
                line.split_once('=')
                    .is_some_and(|(name, _)| name.trim_start_matches("# ").trim() == key)
            }
        });
        assert!(shown, "examples/config.toml does not show {key}");
    }
}

/// One key of the configuration, as a row of docs/configure.md tells of it.
struct Row {
    section: String,
    key: String,
    example: String,
    takes: String,
    default: String,
}

fn rows() -> Vec<Row> {
    let (mut section, mut rows) = (String::new(), Vec::new());
    for line in CONFIGURE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.trim_matches(['`', '[', ']']).to_owned();
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if let [setting, takes, default, _] = cells.as_slice()
            && let Some((key, example)) = setting.trim_matches('`').split_once(" = ")
        {
            let [key, example, takes, default] =
                [key, example, takes, default].map(|text| (*text).to_owned());
            rows.push(Row {
                section: section.clone(),
                key,
                example,
                takes,
                default,
            });
        }
    }
    rows
}

impl Row {
    /// A configuration with this value of the key, or without the key, and what else it needs
    /// beside it.
    fn config(&self, value: Option<&str>) -> Result<Config, String> {
        let line = value.map_or(String::new(), |value| format!("{} = {value}\n", self.key));
        let beside = match (self.section.as_str(), self.key.as_str()) {
            (_, "splay") => "schedule = \"0 */5 * * * *\"\n",
            (_, "nudge_spread") => "nudge = \"2s\"\n",
            (_, "fragment") => "layout = \"coreos\"\n",
            (_, "principals") => "allowed_signers = \"/x\"\n",
            ("report", "s3_sse") => "s3 = \"s3://b/\"\n",
            ("account", "allow_private_key" | "fallback") => "source = \"file:/own\"\n",
            ("account", "fallback_after") => "source = \"file:/own\"\nfallback = \"file:/copy\"\n",
            (_, "fallback_after") => "fallback = \"file:/copy\"\n",
            _ => "",
        };
        let source = if self.section == "At the top" && self.key == "source" {
            ""
        } else {
            "source = \"file:/k\"\n"
        };
        let text = match self.section.as_str() {
            "At the top" => format!("{source}{beside}{line}[[account]]\n"),
            "account" => format!("{source}[[account]]\n{beside}{line}"),
            section => format!("{source}[[account]]\n[{section}]\n{beside}{line}"),
        };
        Config::parse(&text).map_err(|faults| format!("{faults:?} in:\n{text}"))
    }
}

/// The pieces of code in a cell that are values.
fn values(cell: &str) -> impl Iterator<Item = &str> {
    let code = cell.split('`').skip(1).step_by(2);
    code.filter(|code| {
        code.starts_with(|sign: char| sign == '"' || sign.is_ascii_digit())
            || ["true", "false"].contains(code)
    })
}

#[test]
fn the_guide_to_the_configuration_has_every_key_with_values_that_are_good_and_defaults_that_are_true()
 {
    let faults = Config::parse(
        "zz = 1\n[[account]]\nzz = 1\n[trust]\nzz = 1\n[policy]\nzz = 1\n[report]\nzz = 1\n",
    );
    let mut known = BTreeSet::new();
    for fault in faults.unwrap_err() {
        let section = fault
            .key
            .split_once('.')
            .map_or("At the top", |(section, _)| section);
        let keys = fault
            .message
            .split_once("known here: ")
            .into_iter()
            .flat_map(|(_, keys)| keys.split(", "));
        known.extend(keys.map(|key| (section.to_owned(), key.to_owned())));
    }
    for table in ["account", "trust", "policy", "report"] {
        assert!(
            known.remove(&("At the top".to_owned(), table.to_owned()))
                && CONFIGURE.contains(&format!("[{table}]"))
        );
    }
    let rows = rows();
    let told: BTreeSet<_> = rows
        .iter()
        .map(|row| (row.section.clone(), row.key.clone()))
        .collect();
    assert_eq!(told, known);
    for row in &rows {
        for value in values(&row.takes).chain([row.example.as_str()]) {
            row.config(Some(value)).unwrap();
        }
        if let Some(default) = row
            .default
            .strip_prefix('`')
            .and_then(|code| code.strip_suffix('`'))
            && !default.contains('`')
        {
            assert_eq!(
                row.config(Some(default)).unwrap(),
                row.config(None).unwrap(),
                "{}",
                row.key
            );
        }
    }
    for config in authkeys_testing::blocks(CONFIGURE, "toml") {
        Config::parse(&config).unwrap();
    }
}

#[test]
fn what_lies_beyond_the_limits_that_the_guide_names_is_refused() {
    let long = format!("\"{}\"", "x".repeat(129));
    let long_name = format!("\"{}\"", "x".repeat(257));
    let long_prefix = format!("\"{}/\"", "x".repeat(122));
    let beyond = |key: &str| match key {
        "source" => vec![
            "\"ftp://x\"",
            "\"file:x\"",
            "[]",
            "[1]",
            "[\"file:/x\", \"file:/x\"]",
        ],
        "fallback" => vec!["\"ftp://x\"", "[\"file:/x\"]", "true"],
        "fallback_after" => vec!["\"-1s\"", "10"],
        "allow_private_key" | "ec2_tags" => vec!["1", "\"true\""],
        "schedule" => vec!["\"999ms\"", "60", "\"0 */5 * * *\""],
        "nudge" => vec!["\"999ms\"", "\"3601s\"", "2"],
        "nudge_spread" => vec!["\"-1s\"", "\"3601s\""],
        "splay" => vec!["\"101%\"", "\"-1s\""],
        "pinned_keys" | "state_dir" | "runtime_dir" | "allowed_signers" => {
            vec!["\"x\"", "\"/a/../b\""]
        }
        "expiry_time" | "mode" | "layout" => vec!["\"other\"", "true"],
        "user" => vec!["\"\"", &long_name],
        "file" => vec!["\"keys\"", "\"%h/%x\"", "\"/a/../b\""],
        "fragment" => vec!["\".x\"", "\"-x\"", "\"\"", &long],
        "audience" => vec!["\"\"", "\"a b\"", &long],
        "principals" => vec!["[]", "[\"*@acme\"]"],
        "min_keys" => vec!["-1", "4097"],
        "max_removals" => vec!["-1", "4097", "\"101%\""],
        "min_rsa_bits" => vec!["1023", "16385"],
        "max_stale" | "heartbeat" => vec!["\"999ms\"", "\"1\""],
        "allow_options" => vec!["[\"frob\"]", "\"from\""],
        "tag_prefix" => vec!["\"aws:x\"", "\"a#\"", &long_prefix],
        "key_name_tag" => vec!["\"aws:x\"", "\"authkeysd:status\"", &long],
        "report_spread" => vec!["\"-1s\"", "\"86401s\""],
        "s3" => vec!["\"file:/x\"", "\"s3://BUCKET/?version_id=1\""],
        "s3_sse" => vec!["\"kms\"", "\"aes256\"", "\"aws:kms:\"", "true"],
        "prometheus" => vec!["\"x.prom\"", "\"/x\""],
        key => panic!("what is beyond {key}'s limits?"),
    };
    for row in rows() {
        for value in beyond(&row.key) {
            assert!(
                row.config(Some(value)).is_err(),
                "{} = {value} is taken",
                row.key
            );
        }
    }
}

/// The pieces of code in a text, in their order.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn each_claim_of_the_threat_model_names_a_test_that_exists() {
    let mut claims = 0;
    for row in THREATS.lines().filter(|line| line.starts_with("| ")) {
        let attacked = row.trim_end_matches(" |").rsplit("| ").next().unwrap();
        if attacked == "attacked by" {
            continue;
        }
        let mut file = String::new();
        for name in code(attacked) {
            if name.ends_with(".rs") {
                let places = [
                    "tests",
                    "crates/core/tests",
                    "crates/aws/tests",
                    "crates/ctl/tests",
                ];
                let path = places
                    .map(|place| Path::new(ROOT).join(place).join(name))
                    .into_iter()
                    .find(|path| path.exists());
                file = fs::read_to_string(
                    path.unwrap_or_else(|| panic!("{name} is not there: {row}")),
                )
                .unwrap();
            } else {
                assert!(
                    file.contains(&format!("fn {name}(")),
                    "{name} is not there: {row}"
                );
            }
        }
        assert!(!file.is_empty(), "nothing attacks it: {row}");
        claims += 1;
    }
    assert!(claims > 25, "{claims}");
}

#[test]
fn the_architecture_names_every_module_and_nothing_that_is_gone() {
    let rows = ARCHITECTURE
        .lines()
        .filter(|line| line.starts_with("| `src/"));
    let told: BTreeSet<String> = rows
        .flat_map(|row| code(row.split(" | ").next().unwrap()))
        .map(|path| {
            path.trim_start_matches("src/")
                .trim_end_matches(".rs")
                .to_owned()
        })
        .collect();
    let modules = fs::read_to_string(Path::new(ROOT).join("src/lib.rs")).unwrap();
    let modules = modules.lines().filter_map(|line| {
        Some(
            line.strip_prefix("pub mod ")?
                .trim_end_matches(';')
                .to_owned(),
        )
    });
    assert_eq!(told, modules.collect());
    let places = ["src/", "crates/", "tests/", "systemd/"];
    for path in code(ARCHITECTURE).filter(|code| places.iter().any(|place| code.starts_with(place)))
    {
        assert!(Path::new(ROOT).join(path).exists(), "{path}");
    }
    for (name, file) in [
        ("Fetch", "crates/core/src/origin/mod.rs"),
        ("Host", "src/host/mod.rs"),
    ] {
        let text = fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
        let told = ARCHITECTURE
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(
            told.contains(&format!("`{name}` in `{file}`"))
                && text.contains(&format!("pub trait {name}"))
        );
    }
}

#[test]
fn the_changelog_has_this_version_on_top() {
    let newest = CHANGELOG
        .lines()
        .find_map(|line| line.strip_prefix("## "))
        .unwrap();
    assert_eq!(newest.split(' ').next(), Some(env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_field_of_the_json_output_is_documented() {
    let setup = Setup::new()
        .account("nobody-of-that-name", "")
        .account("root", "file = \"%h/.authkeysd-never-made/k\"");
    setup.publish("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHOLP2JmNZ2MHpDJjQcs1fAfAEMaV6lWxS2Z/wVzOgoh one\nssh-dss A\n");
    let mut names = BTreeSet::new();
    for arguments in [
        ["sync", "--dry-run", "--json"],
        ["check", "--online", "--json"],
    ] {
        let run = setup.run(arguments);
        let json =
            serde_json::from_str(&run.stdout).unwrap_or_else(|fault| panic!("{fault}: {run:?}"));
        collect(&json, &mut names);
    }
    assert!(names.len() > 25, "{names:?}");
    for name in names {
        let told = [
            format!("`{name}`"),
            format!(".{name}`"),
            format!("{name}[]`"),
        ]
        .iter()
        .any(|told| OUTPUT.contains(told));
        assert!(told, "docs/output.md does not name {name}");
    }
}

#[test]
fn what_the_guide_for_operators_names_exists() {
    let source = ["src", "crates"]
        .map(|directory| program_text(&Path::new(ROOT).join(directory)))
        .concat();
    for message in
        first_cells("## Messages").filter_map(|cell| cell.strip_prefix('`')?.strip_suffix('`'))
    {
        assert!(source.contains(message), "no message has {message:?}");
    }
    assert!(first_cells("## Messages").count() > 20);
    for name in first_cells("## The state directory")
        .map(|cell| cell.trim_matches('`').replace("USER", "{user}"))
    {
        assert!(
            source.contains(&format!("\"{name}\"")),
            "the state directory has no {name}"
        );
    }

    let help = ["--help", "sync --help", "check --help", "explain --help"]
        .map(|line| {
            authkeys_testing::outcome_of(authkeys_testing::clean_command().args(line.split(' ')))
                .stdout
        })
        .concat();
    let told: BTreeSet<&str> = first_cells("## What to do at each exit status").collect();
    let (_, codes) = help.split_once("Exit codes:").unwrap();
    let known = codes
        .lines()
        .skip(1)
        .map_while(|line| line.split_whitespace().next()?.parse::<u8>().ok());
    assert_eq!(
        told,
        known
            .map(|code| code.to_string())
            .collect::<BTreeSet<_>>()
            .iter()
            .map(String::as_str)
            .collect()
    );

    let (_, synopses) = help.split_once("Commands:").unwrap();
    let commands = OPERATE
        .match_indices("`authkeysd ")
        .map(|(at, _)| OPERATE[at + 1..].split('`').next().unwrap());
    let commands: Vec<&str> = commands.collect();
    assert!(commands.len() > 5, "{commands:?}");
    for word in commands
        .iter()
        .flat_map(|command| command.split_whitespace().skip(1))
        .filter(|w| !w.contains('/'))
    {
        let known = synopses
            .split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '-')
            .any(|known| known == word);
        assert!(known, "authkeysd knows no {word}: {commands:?}");
    }

    for path in [
        "/var/lib/authkeysd",
        "/etc/ssh/authorized_keys.d",
        "/etc/authkeysd",
        "STATE_DIRECTORY",
    ] {
        assert!(
            OPERATE.contains(path) && (source.contains(path) || help.contains(path)),
            "{path}"
        );
    }
    for key in [
        "state_dir",
        "schedule",
        "runtime_dir",
        "min_keys",
        "max_removals",
        "mode",
        "layout",
        "file",
        "[trust]",
    ] {
        assert!(
            OPERATE.contains(&format!("`{key}")) && EXAMPLE.contains(key),
            "{key}"
        );
    }
    let configs: Vec<String> = authkeys_testing::blocks(OPERATE, "toml").collect();
    assert!(!configs.is_empty());
    configs
        .iter()
        .for_each(|config| drop(Config::parse(config).unwrap()));
    for policy in authkeys_testing::blocks(OPERATE, "json") {
        serde_json::from_str::<Value>(&policy).unwrap();
    }
}

/// The first cells of the table's rows below a heading.
fn first_cells(heading: &str) -> impl Iterator<Item = &'static str> {
    let (_, section) = OPERATE
        .split_once(heading)
        .unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .skip(1)
}

/// The sources, their texts as the compiler sees them.
fn program_text(directory: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &program_text(&path);
            continue;
        }
        let file = fs::read_to_string(path).unwrap();
        let mut pieces = file.split("\\\n");
        text += pieces.next().unwrap();
        pieces.for_each(|piece| text += piece.trim_start());
    }
    text
}

fn collect(json: &Value, names: &mut BTreeSet<String>) {
    match json {
        Value::Object(fields) => {
            names.extend(fields.keys().cloned());
            fields.values().for_each(|value| collect(value, names));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
        _ => {}
    }
}
