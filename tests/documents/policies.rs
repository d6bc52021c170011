//! The example policies, and those inside the templates, allow what is needed and no more, and a
//! linter takes them.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use authkeys_core::report::tags::TagNames;
use authkeys_testing::python;
use serde_json::Value;

use crate::examples::{HCL2, example, our_keys, read, strings};

const OPERATE: &str = include_str!("../../docs/operate.md");

const POLICIES: [&str; 12] = [
    "node",
    "node-prefix",
    "node-secret",
    "node-report",
    "publisher",
    "publisher-first",
    "publisher-nudge",
    "reader",
    "rotator",
    "watcher",
    "signer-kms",
    "login",
];

#[test]
fn every_policy_allows_what_is_needed_and_no_more() {
    for name in POLICIES {
        let policy: Value = serde_json::from_str(&read(&format!("iam/{name}.json"))).unwrap();
        assert_eq!(policy["Version"], "2012-10-17");
        for statement in policy["Statement"].as_array().unwrap() {
            let actions = match &statement["Action"] {
                Value::String(action) => vec![action.clone()],
                list => strings(list).into_iter().collect(),
            };
            assert!(
                statement["Effect"] == "Allow"
                    && actions.iter().all(|action| !action.contains('*')),
                "{statement}"
            );
            let everywhere = statement["Resource"] == "*";
            // These two know no narrower resource.
            let wide = ["ec2:DescribeInstances", "ssm:DescribeParameters"];
            assert!(
                !everywhere || actions.iter().all(|action| wide.contains(&action.as_str())),
                "{statement}"
            );
            if name.starts_with("node") {
                let node = [
                    "s3:GetObject",
                    "s3:ListBucket",
                    "s3:PutObject",
                    "ec2:CreateTags",
                    "secretsmanager:GetSecretValue",
                    "ssm:GetParameter",
                    "kms:Decrypt",
                    "kms:GenerateDataKey",
                ];
                assert!(
                    actions.iter().all(|action| node.contains(&action.as_str())),
                    "{statement}"
                );
            }
            if actions.iter().any(|action| action == "ec2:CreateTags") {
                match name {
                    "publisher-nudge" => sets_only_the_nudge(statement),
                    _ => tags_only_itself(statement),
                }
            }
            // Who may list lists what belongs to it.
            if name == "node-prefix" && actions.iter().any(|action| action == "s3:ListBucket") {
                assert_eq!(
                    statement["Condition"]["StringEquals"]["s3:prefix"],
                    "people/"
                );
            }
            // A signer signs, with one key, and nothing else.
            if name == "signer-kms" {
                assert_eq!(actions, ["kms:GetPublicKey", "kms:Sign"]);
                assert!(!statement["Resource"].to_string().contains('*'));
                continue;
            }
            // A key is used only on behalf of the service that keeps the key set.
            if actions.iter().any(|action| action.starts_with("kms:")) {
                assert!(
                    !statement["Condition"]["StringEquals"]["kms:ViaService"].is_null(),
                    "{statement}"
                );
            }
        }
    }
    // Who reads changes nothing, and has what each reading command calls.
    let reader: Value = serde_json::from_str(&read("iam/reader.json")).unwrap();
    let actions: BTreeSet<String> = reader["Statement"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|statement| match &statement["Action"] {
            Value::String(action) => BTreeSet::from([action.clone()]),
            list => strings(list),
        })
        .collect();
    let verb = |action: &String| {
        action
            .split_once(':')
            .is_some_and(|(_, name)| name.starts_with("Get") || name.starts_with("List"))
    };
    assert!(
        actions
            .iter()
            .all(|action| verb(action) || action == "kms:Decrypt"),
        "{actions:?}"
    );
    for action in [
        "s3:GetObjectVersion",
        "s3:ListBucketVersions",
        "secretsmanager:ListSecretVersionIds",
        "ssm:GetParameterHistory",
    ] {
        assert!(
            actions.contains(action) && OPERATE.contains(&format!("`{action}`")),
            "{action}"
        );
    }
    // The guide shows the same statement.
    let shown = OPERATE
        .split("```json\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let mut shown =
        shown.map(|text| serde_json::from_str::<Value>(text).unwrap()["Statement"][0].clone());
    tags_only_itself(
        &shown
            .find(|statement| statement["Action"] == "ec2:CreateTags")
            .unwrap(),
    );
}

fn sets_only_the_nudge(statement: &Value) {
    let nudge = TagNames::default().nudge();
    let condition = serde_json::json!({
        "ForAllValues:StringEquals": {"aws:TagKeys": [nudge]},
        "Null": {"aws:TagKeys": "false"}
    });
    assert_eq!(statement["Condition"], condition);
    let instances = statement["Resource"].as_str().unwrap();
    assert!(instances.starts_with("arn:aws:ec2:") && instances.ends_with(":instance/*"));
}

fn tags_only_itself(statement: &Value) {
    let condition = &statement["Condition"];
    assert_eq!(
        condition["ArnLike"]["ec2:SourceInstanceARN"],
        "arn:aws:ec2:*:*:instance/${ec2:InstanceID}"
    );
    // No other condition, and no nudge: a node must not wake the others.
    assert_eq!(condition.as_object().unwrap().len(), 2);
    assert_eq!(
        strings(&condition["ForAllValues:StringEquals"]["aws:TagKeys"]),
        our_keys()
    );
}

/// Renders the module's `aws_iam_policy_document`s as Terraform would, with all options switched
/// on: a dynamic statement once. An expression that it does not know is an error, and so is a
/// policy that is not made of such a document: nothing goes by unjudged.
const TERRAFORM: &str = r#"
import hcl2, json, re, sys
KEY = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"
KNOWN = {
    "aws_s3_bucket.keys.arn": "arn:aws:s3:::keys", "data.aws_partition.current.partition": "aws",
    "data.aws_partition.current.dns_suffix": "amazonaws.com", "data.aws_caller_identity.current.account_id": "123456789012",
    "var.key_set": "prod/workers.json", "local.via_s3": "s3.eu-west-1.amazonaws.com", "local.tag_keys": ["authkeysd:status", "EC2KeyName"],
}
EACH = {"local.nudge": "authkeysd:nudge", "local.reports": "reports/prod/", "local.keys": KEY, "local.keys_reports": KEY}

def bare(text):
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text

def value(found, each):
    if isinstance(found, list):
        # It writes a list of one as that one.
        return value(found[0], each) if len(found) == 1 else [value(item, each) for item in found]
    known = {**KNOWN, "statement.value": each} if each else KNOWN
    text = found.strip()
    whole = re.fullmatch(r'(?:\$\{)?([a-z_0-9]+(?:\.[a-z_0-9]+)+)\}?', text)
    if whole:
        return known[whole.group(1)]
    quoted = bare(text)
    rendered = re.sub(r"\$\{([^}]+)\}", lambda part: known[part.group(1).strip()], quoted)
    return rendered.replace("&{", "${")

def entry(block, each):
    made = {"Effect": "Allow"}
    for name, found in block.items():
        if name.startswith("__"):
            continue
        if name == "sid":
            made["Sid"] = value(found, each)
        elif name == "effect":
            made["Effect"] = value(found, each)
        elif name in ("actions", "resources"):
            made["Action" if name == "actions" else "Resource"] = value(found, each)
        elif name == "principals":
            for one in found:
                kind, ids = value(one["type"], each), value(one["identifiers"], each)
                made["Principal"] = "*" if kind == "*" else {kind: ids}
        elif name == "condition":
            for one in found:
                test, key = value(one["test"], each), value(one["variable"], each)
                made.setdefault("Condition", {}).setdefault(test, {})[key] = value(one["values"], each)
        else:
            raise ValueError(name)
    return made

with open(sys.argv[1]) as file:
    text = file.read()
module = hcl2.loads(text)
policies = {}
for block in module["data"]:
    for kind, labelled in block.items():
        if bare(kind) != "aws_iam_policy_document":
            continue
        for label, body in labelled.items():
            made = []
            for name, blocks in body.items():
                if name.startswith("__"):
                    continue
                for one in blocks:
                    if name == "statement":
                        made.append(entry(one, None))
                    elif name == "dynamic" and [bare(key) for key in one] == ["statement"]:
                        (inner,) = one.values()
                        each = EACH[re.sub(r"^\$\{|\}$", "", inner["for_each"])]
                        made += [entry(content, each) for content in inner["content"]]
                    else:
                        raise ValueError(name)
            policies[bare(label)] = {"Version": "2012-10-17", "Statement": made}
# Each policy of a resource is one of these.
used = re.findall(r"^\s*(?:policy|assume_role_policy)\s*=\s*(.+)$", text, re.M)
for expression in used:
    label = re.fullmatch(r"data\.aws_iam_policy_document\.(\w+)\.json", expression.strip()).group(1)
    assert label in policies, label
assert len(used) == len(policies) == text.count('data "aws_iam_policy_document"'), (used, list(policies))
json.dump(policies, sys.stdout)
"#;

/// A file with the module's policies, by name; `None` where Python is missing.
fn terraform_policies() -> Option<tempfile::NamedTempFile> {
    let python = python::environment("hcl", HCL2)?;
    let output = Command::new(python)
        .args(["-c", TERRAFORM])
        .arg(example("terraform/main.tf"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let policies: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> = policies
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(names, ["ec2", "node", "publisher", "tls_only", "watcher"]);
    assert_eq!(
        policies["ec2"]["Statement"],
        serde_json::json!([{
            "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}
        }])
    );
    let actions = |policy: &Value| -> BTreeSet<String> {
        let all = policy["Statement"]
            .as_array()
            .unwrap()
            .iter()
            .map(|statement| statement["Action"].clone());
        all.flat_map(|action| {
            if action.is_string() {
                BTreeSet::from([action.as_str().unwrap().to_owned()])
            } else {
                strings(&action)
            }
        })
        .collect()
    };
    let tags = policies["node"]["Statement"]
        .as_array()
        .unwrap()
        .iter()
        .find(|statement| statement["Sid"] == "TagItself");
    assert_eq!(
        tags.unwrap()["Condition"]["ArnLike"]["ec2:SourceInstanceARN"],
        "arn:aws:ec2:*:*:instance/${ec2:InstanceID}"
    );
    assert!(
        actions(&policies["node"]).contains("kms:GenerateDataKey"),
        "every option is switched on"
    );
    let nudge = policies["publisher"]["Statement"]
        .as_array()
        .unwrap()
        .iter()
        .find(|statement| statement["Sid"] == "NudgeTheNodes");
    assert_eq!(
        nudge.unwrap()["Condition"],
        serde_json::json!({
            "ForAllValues:StringEquals": {"aws:TagKeys": "authkeysd:nudge"},
            "Null": {"aws:TagKeys": "false"}
        })
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, &output.stdout).unwrap();
    Some(file)
}

/// Renders every policy of the template with all its options switched on, and lets parliament judge
/// them and the files that are named. What it is wrong about is taken out here, with the reason.
const PARLIAMENT: &str = r#"
import json, re, sys
import yaml
from parliament import analyze_policy_string

class Tagged(yaml.SafeLoader):
    pass

def tagged(loader, suffix, node):
    kind = {"ScalarNode": loader.construct_scalar, "SequenceNode": loader.construct_sequence, "MappingNode": loader.construct_mapping}
    deep = () if isinstance(node, yaml.ScalarNode) else (True,)
    return {"Fn": suffix, "of": kind[type(node).__name__](node, *deep)}

Tagged.add_multi_constructor("!", tagged)
KEY = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"
KNOWN = {"AWS::Partition": "aws", "AWS::AccountId": "123456789012", "AWS::Region": "eu-west-1", "AWS::URLSuffix": "amazonaws.com",
         "Keys.Arn": "arn:aws:s3:::keys", "KeySet": "prod/workers.json", "ReportPrefix": "reports/prod/", "KmsKeyArn": KEY}

def plain(value):
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict) and set(value) == {"Fn", "of"}:
        kind, of = value["Fn"], value["of"]
        if kind == "If":
            return plain(of[1])
        if kind in ("Ref", "GetAtt"):
            return KNOWN[of]
        if kind == "Sub":
            text = re.sub(r"\$\{([^!}]+)\}", lambda found: KNOWN[found.group(1)], of)
            return text.replace("${!", "${")
        raise ValueError(kind)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value

def statements(value, found):
    if isinstance(value, dict):
        if "PolicyDocument" in value:
            found.append(plain(value["PolicyDocument"]))
        for item in value.values():
            statements(item, found)
    elif isinstance(value, list):
        for item in value:
            statements(item, found)
    return found

template, module, *files = sys.argv[1:]
with open(template) as file:
    policies = [(template, policy) for policy in statements(yaml.load(file, Tagged), [])]
# Terraform's documents, which the other environment has rendered.
with open(module) as file:
    policies += [("terraform " + name, policy) for name, policy in json.load(file).items()]
for name in files:
    with open(name) as file:
        policies.append((name, json.load(file)))
bad = len(policies) - len(files) < 4
for name, policy in policies:
    for finding in analyze_policy_string(json.dumps(policy)).findings:
        # It knows no condition key of one service in a policy about another; this one AWS documents as such.
        if finding.issue == "UNKNOWN_CONDITION_FOR_ACTION" and "ec2:SourceInstanceARN" in str(finding):
            continue
        # It knows no trust policies, whose resource is the role itself. The test looks at this one.
        if name == "terraform ec2" and finding.issue == "MALFORMED" and "neither Resource nor NotResource" in str(finding):
            continue
        bad = True
        print(name, finding)
print(len(policies), "policies")
sys.exit(bad)
"#;

#[test]
fn parliament_takes_every_policy_and_those_in_the_template_and_in_the_module() {
    let Some(python) = python::environment("parliament", "parliament==1.6.4") else {
        return;
    };
    let files = POLICIES.map(|name| example(&format!("iam/{name}.json")));
    let template = example("cloudformation/authkeysd.yaml");
    let Some(module) = terraform_policies() else {
        return;
    };
    let output = Command::new(python)
        .args(["-c", PARLIAMENT])
        .arg(template)
        .arg(module.path())
        .args(files)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}
