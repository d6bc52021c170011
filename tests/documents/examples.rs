//! The examples hold: tools that know their formats read them, and they name what the program
//! names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use authkeys_core::report::tags::TagNames;
use authkeys_testing::python;
use serde_json::Value;

const METRICS: &str = include_str!("../../crates/core/src/report/metrics.rs");
const OUTPUT: &str = include_str!("../../docs/output.md");
const COSTS: &str = include_str!("../../docs/costs.md");

pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name)
}

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(example(name)).unwrap()
}

pub(crate) fn our_keys() -> BTreeSet<String> {
    TagNames::default().all().into_iter().collect()
}

/// The strings of a JSON value's list.
pub(crate) fn strings(value: &Value) -> BTreeSet<String> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

/// Every name in a text that begins as our metrics do.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let starts = text.match_indices("authkeysd_").map(|(at, _)| &text[at..]);
    let end = |rest: &str| {
        rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len())
    };
    starts
        .map(|rest| &rest[..end(rest)])
        .filter(|name| *name != "authkeysd_")
        .collect()
}

/// The metrics that the program writes.
fn metrics() -> BTreeSet<String> {
    // However the source is laid out.
    let source: String = METRICS.split_whitespace().collect();
    let told = ["page.gauge(\"", "page.counter(\""]
        .iter()
        .flat_map(|call| source.split(call).skip(1));
    let named = told.map(|rest| rest.split('"').next().unwrap().to_owned());
    let listed = source
        .split("(\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter(|name| name.ends_with("_total"));
    named
        .chain(listed.map(str::to_owned))
        .map(|name| format!("authkeysd_{name}"))
        .collect()
}

#[test]
fn alerts_and_dashboard_name_only_metrics_that_there_are_and_the_reference_names_all() {
    let known = metrics();
    assert!(known.len() > 20, "{known:?}");
    for name in ["prometheus/authkeysd.rules.yml", "grafana/authkeysd.json"] {
        let text = read(name);
        let used = metrics_in(&text);
        assert!(used.len() > 8, "{name}: {used:?}");
        for metric in used {
            assert!(
                known.contains(metric),
                "{name}: no metric is called {metric}"
            );
        }
    }
    let documented: BTreeSet<String> = metrics_in(OUTPUT).into_iter().map(str::to_owned).collect();
    assert_eq!(documented, known, "docs/output.md");
}

#[test]
fn the_dashboard_is_whole() {
    let board: Value = serde_json::from_str(&read("grafana/authkeysd.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    assert!(ids.len() == panels.len() && panels.len() > 8);
    for panel in panels {
        assert!(
            !panel["title"].as_str().unwrap().is_empty()
                && !panel["description"].as_str().unwrap().is_empty()
        );
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            assert_eq!(
                expression.matches('(').count(),
                expression.matches(')').count(),
                "{expression}"
            );
            assert!(
                expression.contains("$instance") && expression.contains("$job"),
                "{expression}"
            );
        }
        // Nothing lies over another panel.
        let place = |field: &str| panel["gridPos"][field].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{panel}");
    }
}

#[test]
fn promtool_takes_the_alerts_and_their_tests_pass() {
    let check = |arguments: &[&str]| {
        let output = match Command::new("promtool").args(arguments).output() {
            Ok(output) => output,
            Err(_) if std::env::var_os("CI").is_none_or(|ci| ci != "true") => {
                eprintln!("SKIPPED: no promtool (Debian package prometheus)");
                return;
            }
            Err(why) => panic!("no promtool: {why}"),
        };
        let said = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&said)
        );
    };
    check(&[
        "check",
        "rules",
        example("prometheus/authkeysd.rules.yml").to_str().unwrap(),
    ]);
    check(&[
        "test",
        "rules",
        example("prometheus/authkeysd.rules.test.yml")
            .to_str()
            .unwrap(),
    ]);
}

pub(crate) const HCL2: &str = "python-hcl2==8.1.4";

const HCL: &str = "
import hcl2, json, sys
whole = {}
for name in sys.argv[1:]:
    with open(name) as file:
        for kind, blocks in hcl2.load(file).items():
            whole.setdefault(kind, []).extend(blocks)
print(json.dumps(whole))
";

#[test]
fn the_terraform_module_parses_and_refers_only_to_what_it_declares() {
    let Some(python) = python::environment("hcl", HCL2) else {
        return;
    };
    let files =
        ["main.tf", "variables.tf", "outputs.tf"].map(|name| example(&format!("terraform/{name}")));
    let output = Command::new(python)
        .args(["-c", HCL])
        .args(&files)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let module: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |text: &str| text.trim_matches('"').to_owned();
    let labels = |kind: &str| -> BTreeSet<String> {
        let blocks = module[kind].as_array().unwrap().iter();
        blocks
            .flat_map(|block| {
                block
                    .as_object()
                    .unwrap()
                    .keys()
                    .map(|key| name(key))
                    .collect::<Vec<_>>()
            })
            .collect()
    };
    let text = files.map(|file| fs::read_to_string(file).unwrap()).concat();
    for kind in [
        "aws_s3_bucket_versioning",
        "aws_s3_bucket_server_side_encryption_configuration",
        "aws_s3_bucket_public_access_block",
    ] {
        assert!(labels("resource").contains(kind), "{kind}");
    }
    let variables = labels("variable");
    for used in text.split("var.").skip(1).map(|rest| {
        rest.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap()
    }) {
        assert!(variables.contains(used), "var.{used}");
    }
    for (used, label) in references(&text) {
        assert!(
            text.contains(&format!("\"{used}\" \"{label}\"")),
            "{used}.{label} is declared nowhere"
        );
    }
    // The keys are made of the same parts.
    let parts: BTreeSet<String> = TagNames::PARTS
        .iter()
        .map(|part| format!("\"{part}\""))
        .collect();
    let list = text
        .split_once("for part in [")
        .unwrap()
        .1
        .split(']')
        .next()
        .unwrap();
    assert_eq!(
        list.split(", ").map(str::to_owned).collect::<BTreeSet<_>>(),
        parts
    );
    assert!(text.contains("\"authkeysd:\"") && text.contains("\"EC2KeyName\""));
    let condition = "test     = \"ArnLike\"\n      variable = \"ec2:SourceInstanceARN\"\n      \
                     values   = [\"arn:${data.aws_partition.current.partition}:ec2:*:*:instance/&{ec2:InstanceID}\"]";
    assert!(
        text.contains(condition)
            && text.contains("\"ec2.${data.aws_partition.current.dns_suffix}\"")
    );
    assert!(text.contains("prefix = rule.value") && text.contains("days = var.report_days"));
}

/// The resources and data that expressions name, as `aws_x.label`.
fn references(text: &str) -> BTreeSet<(&str, &str)> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("aws_") {
        let rest = &text[at..];
        let end = |text: &str| {
            text.find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(text.len())
        };
        let kind = &rest[..end(rest)];
        if let Some(label) = rest[kind.len()..].strip_prefix('.') {
            found.insert((kind, &label[..end(label)]));
        }
    }
    assert!(found.len() > 8, "{found:?}");
    found
}

#[test]
fn cfn_lint_takes_the_template_and_its_tags_are_ours() {
    let template = read("cloudformation/authkeysd.yaml");
    let list = template.split_once("\"aws:TagKeys\":\n").unwrap().1;
    let listed = list.lines().map_while(|line| {
        line.trim()
            .strip_prefix("- ")
            .filter(|key| !key.starts_with('!'))
    });
    assert_eq!(
        listed.map(str::to_owned).collect::<BTreeSet<_>>(),
        our_keys()
    );
    for wanted in [
        "Status: Enabled",
        "SSEAlgorithm",
        "BlockPublicAcls: true",
        "BlockPublicPolicy: true",
        "IgnorePublicAcls: true",
        "RestrictPublicBuckets: true",
    ] {
        assert!(template.contains(wanted), "{wanted}");
    }
    for wanted in [
        "ArnLike: {\"ec2:SourceInstanceARN\": !Sub \"arn:${AWS::Partition}:ec2:*:*:instance/${!ec2:InstanceID}\"}",
        "Principal: {Service: !Sub \"ec2.${AWS::URLSuffix}\"}",
        "Prefix: !Ref ReportPrefix\n              ExpirationInDays: !Ref ReportDays",
    ] {
        assert!(template.contains(wanted), "{wanted}");
    }
    let Some(python) = python::environment("cfn-lint", "cfn-lint==1.58.0") else {
        return;
    };
    let lint = python.with_file_name("cfn-lint");
    let output = Command::new(python)
        .arg(lint)
        .arg(example("cloudformation/authkeysd.yaml"))
        .arg(example("cloudformation/rotation.yaml"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn the_template_of_a_rotation_allows_what_the_policy_does_and_sets_what_the_function_reads() {
    let template = read("cloudformation/rotation.yaml");
    let policy: serde_json::Value = serde_json::from_str(&read("iam/rotator.json")).unwrap();
    for action in strings(&policy["Statement"][0]["Action"]) {
        assert!(template.contains(&format!("- {action}\n")), "{action}");
    }
    let guide = include_str!("../../docs/rotate.md");
    let variables = template.split_once("Variables:\n").unwrap().1;
    let variables = variables.split("\n\n").next().unwrap().lines();
    let names: Vec<&str> = variables
        .map(|line| line.trim().split(':').next().unwrap())
        .collect();
    assert!(names.len() > 4, "{names:?}");
    for name in names {
        assert!(
            guide.contains(&format!("`{name}`")),
            "{name} is in the guide"
        );
    }
}

#[test]
fn the_table_of_costs_is_calculated_right() {
    let row = |start: &str| -> Vec<f64> {
        let line = COSTS
            .lines()
            .find(|line| line.starts_with(&format!("| {start}")))
            .unwrap_or_else(|| panic!("no row {start}"));
        line.split('|')
            .filter_map(|cell| cell.trim().parse().ok())
            .collect()
    };
    let price = |start: &str| -> f64 {
        let line = COSTS
            .lines()
            .find(|line| line.starts_with(&format!("| {start}")))
            .unwrap();
        let mut words = line.split('|').nth(2).unwrap().split_whitespace();
        let price: f64 = words.next().unwrap().parse().unwrap();
        price
            / words
                .nth(1)
                .map_or(1.0, |per| per.replace(',', "").parse().unwrap())
    };
    for (source, calls, price) in [
        ("`s3:`", 1.0, price("S3 GET")),
        (
            "`secretsmanager:` with its two",
            2.0,
            price("Secrets Manager"),
        ),
        (
            "`secretsmanager:` with `?stages",
            1.0,
            price("Secrets Manager"),
        ),
        ("`ssm:`, standard", 1.0, price("SSM GetParameter, standard")),
        (
            "`ssm:`, an advanced",
            1.0,
            price("SSM GetParameter of an advanced"),
        ),
        ("`ssm:`, higher", 1.0, price("SSM GetParameter, higher")),
        ("a KMS key", 1.0, price("KMS")),
    ] {
        let month = 730.0 * 3_600.0;
        let told = row(source);
        let right: Vec<f64> = [15.0, 60.0, 300.0]
            .iter()
            .map(|every| month / every * calls * price)
            .collect();
        assert!(told.len() == 3, "{source}: {told:?}");
        assert!(
            told.iter()
                .zip(&right)
                .all(|(told, right)| (told - right).abs() <= 0.000_06),
            "{source}: {told:?} {right:?}"
        );
    }
}
