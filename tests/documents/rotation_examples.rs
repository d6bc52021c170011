//! The Terraform module of a rotation sets up what the CloudFormation template does: the same
//! permissions, function, trigger, schedule and alarm.

use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::examples::{example, read};
use crate::install_guide::python;

/// Reads both and writes, for each, its policies and resources with the parameters' names in place
/// of their values. What it does not know is an error.
const SCRIPT: &str = r#"
import hcl2, json, re, sys, yaml

def bare(text):
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text

class Tagged(yaml.SafeLoader):
    pass

def tagged(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        of = loader.construct_scalar(node)
        if suffix == "Sub":
            return re.sub(r"\$\{([^}]+)\}", r"<\1>", of)
        return "<%s>" % of
    of = loader.construct_sequence(node, True)
    return of[1] if suffix == "If" else of

Tagged.add_multi_constructor("!", tagged)
with open(sys.argv[1]) as file:
    template = yaml.load(file, Tagged)
made = {name: {"type": it["Type"], **it["Properties"]} for name, it in template["Resources"].items()}
parameters = {name: it.get("Default") for name, it in template["Parameters"].items()}

NAMES = {
    "data.aws_partition.current.partition": "<AWS::Partition>",
    "data.aws_caller_identity.current.account_id": "<AWS::AccountId>",
    "aws_lambda_function.rotate.arn": "<Function.Arn>",
    "aws_lambda_function.rotate.function_name": "<Function>",
    "aws_iam_role.rotate.arn": "<Role.Arn>",
}

def camel(name):
    return "".join(part.capitalize() for part in name.split("_"))

def named(expression):
    expression = expression.strip()
    if expression.startswith("var."):
        return "<%s>" % camel(expression[4:])
    return NAMES[expression]

def value(found):
    if isinstance(found, list):
        return [value(item) for item in found]
    if isinstance(found, dict):
        return {bare(key): value(item) for key, item in found.items() if not key.startswith("__")}
    if not isinstance(found, str):
        return found
    whole = re.fullmatch(r'\$\{(.*)\}', found, re.S)
    if whole and "${" not in whole.group(1):
        expression = whole.group(1).strip()
        choice = re.fullmatch(r'var\.\w+ == "" \? \[\] : \[(var\.\w+)\]', expression)
        return [named(choice.group(1))] if choice else named(expression)
    return re.sub(r"\$\{([^}]+)\}", lambda part: named(part.group(1)), bare(found))

with open(sys.argv[2]) as file:
    module = hcl2.loads(file.read())
with open(sys.argv[3]) as file:
    variables = hcl2.loads(file.read())
policies, resources = {}, {}
for block in module["data"]:
    for kind, labelled in block.items():
        if bare(kind) == "aws_iam_policy_document":
            for label, body in labelled.items():
                policies[bare(label)] = [value(one) for one in body["statement"]]
for block in module["resource"]:
    for kind, labelled in block.items():
        for label, body in labelled.items():
            body = {name: it for name, it in body.items() if name not in ("depends_on", "assume_role_policy", "policy", "role", "name")
                    or bare(kind) == "aws_lambda_function" and name == "role"}
            resources["%s.%s" % (bare(kind), bare(label))] = body
for name in ("aws_iam_role.rotate", "aws_iam_role_policy.rotate"):
    resources.pop(name)
resources = {name: value(body) for name, body in resources.items()}
defaults = {}
for block in variables["variable"]:
    for label, body in block.items():
        default = body.get("default")
        defaults[camel(bare(label))] = bare(default) if isinstance(default, str) else default
json.dump({"template": made, "parameters": parameters, "policies": policies, "resources": resources, "variables": defaults}, sys.stdout)
"#;

/// Read once for all tests: the reader of HCL is slow.
static BOTH: LazyLock<Option<Value>> = LazyLock::new(both);

fn both() -> Option<Value> {
    let output = Command::new(python()?)
        .args(["-c", SCRIPT])
        .arg(example("cloudformation/rotation.yaml"))
        .arg(example("terraform/rotation/main.tf"))
        .arg(example("terraform/rotation/variables.tf"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// A list, where a single value may take its place.
fn list(value: &Value) -> Vec<Value> {
    value
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![value.clone()])
}

#[test]
fn the_terraform_module_of_a_rotation_allows_exactly_what_the_template_does() {
    let Some(both) = BOTH.as_ref() else { return };
    let role = &both["template"]["Role"];
    let ours = both["policies"]["rotate"].as_array().unwrap();
    let theirs = role["Policies"][0]["PolicyDocument"]["Statement"]
        .as_array()
        .unwrap();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        let (resource, actions) = (list(&ours["resources"]), list(&ours["actions"]));
        assert_eq!(ours["sid"], theirs["Sid"]);
        assert_eq!(actions, list(&theirs["Action"]));
        assert_eq!(resource, list(&theirs["Resource"]));
        assert_eq!(
            (ours["effect"].clone(), &theirs["Effect"]),
            (Value::Null, &json!("Allow"))
        );
    }
    let trust = &role["AssumeRolePolicyDocument"]["Statement"][0];
    let principals = &both["policies"]["lambda"][0]["principals"][0];
    assert_eq!(
        list(&principals["identifiers"]),
        list(&trust["Principal"]["Service"])
    );
    assert_eq!(
        both["resources"]["aws_iam_role_policy_attachment.network"]["policy_arn"],
        role["ManagedPolicyArns"][0]
    );
    // No other policy and no other role: what is compared is all that there is.
    assert_eq!(both["policies"].as_object().unwrap().len(), 2);
    let roles = read("terraform/rotation/main.tf");
    assert_eq!(roles.matches("aws_iam_role\"").count(), 1);
    assert_eq!(roles.matches("\"aws_iam_").count(), 5);
}

#[test]
fn the_terraform_module_of_a_rotation_makes_what_the_template_makes() {
    let Some(both) = BOTH.as_ref() else { return };
    let (template, resources) = (&both["template"], &both["resources"]);
    let same = |ours: &Value, theirs: &Value, names: &[(&str, &str)]| {
        for (our, their) in names {
            let (our, their) = (&ours[*our], &theirs[*their]);
            assert_eq!(our, their, "{names:?}");
            assert!(!our.is_null(), "{names:?}");
        }
    };
    let (ours, theirs) = (
        &resources["aws_lambda_function.rotate"],
        &template["Function"],
    );
    let names = [
        ("description", "Description"),
        ("runtime", "Runtime"),
        ("handler", "Handler"),
        ("architectures", "Architectures"),
        ("role", "Role"),
        ("timeout", "Timeout"),
        ("memory_size", "MemorySize"),
    ];
    same(ours, theirs, &names);
    same(
        ours,
        &theirs["Code"],
        &[("s3_bucket", "S3Bucket"), ("s3_key", "S3Key")],
    );
    let names = [
        ("subnet_ids", "SubnetIds"),
        ("security_group_ids", "SecurityGroupIds"),
    ];
    same(&ours["vpc_config"][0], &theirs["VpcConfig"], &names);
    same(
        &ours["environment"][0],
        &theirs["Environment"],
        &[("variables", "Variables")],
    );

    let names = [
        ("function_name", "FunctionName"),
        ("action", "Action"),
        ("principal", "Principal"),
        ("source_account", "SourceAccount"),
    ];
    same(
        &resources["aws_lambda_permission.rotate"],
        &template["MayInvoke"],
        &names,
    );

    let ours = &resources["aws_secretsmanager_secret_rotation.rotate"];
    let names = [
        ("secret_id", "SecretId"),
        ("rotation_lambda_arn", "RotationLambdaARN"),
    ];
    same(ours, &template["Rotation"], &names);
    let names = [("schedule_expression", "ScheduleExpression")];
    same(
        &ours["rotation_rules"][0],
        &template["Rotation"]["RotationRules"],
        &names,
    );

    let (ours, theirs) = (
        &resources["aws_cloudwatch_metric_alarm.failed"],
        &template["Failed"],
    );
    let names = [
        ("alarm_description", "AlarmDescription"),
        ("namespace", "Namespace"),
        ("metric_name", "MetricName"),
        ("statistic", "Statistic"),
        ("period", "Period"),
        ("evaluation_periods", "EvaluationPeriods"),
        ("threshold", "Threshold"),
        ("comparison_operator", "ComparisonOperator"),
        ("treat_missing_data", "TreatMissingData"),
        ("alarm_actions", "AlarmActions"),
    ];
    same(ours, theirs, &names);
    let dimension = &theirs["Dimensions"][0];
    let name = dimension["Name"].as_str().unwrap();
    assert_eq!(ours["dimensions"][name], dimension["Value"]);
}

#[test]
fn the_terraform_module_of_a_rotation_takes_the_templates_parameters_with_their_defaults() {
    let Some(both) = BOTH.as_ref() else { return };
    let mut ours = both["variables"].as_object().unwrap().clone();
    let theirs = both["parameters"].as_object().unwrap();
    // A stack has a name by itself.
    assert_eq!(ours.remove("Name"), Some(json!("authkeys-rotate")));
    assert_eq!(&ours, theirs);
    assert_eq!(ours["Filter"], "tag:RotateSSHKeys=True");
    let text = read("terraform/rotation/main.tf");
    for used in text.split("var.").skip(1) {
        let end = used.find(|c: char| !c.is_alphanumeric() && c != '_');
        let name = &used[..end.unwrap()];
        let variables = read("terraform/rotation/variables.tf");
        assert!(
            variables.contains(&format!("variable \"{name}\"")),
            "{name}"
        );
    }
    let outputs = read("terraform/rotation/outputs.tf");
    for used in ["aws_lambda_function.rotate", "aws_iam_role.rotate"] {
        let (kind, label) = used.split_once('.').unwrap();
        assert!(outputs.contains(used));
        assert!(text.contains(&format!("resource \"{kind}\" \"{label}\"")));
    }
}
