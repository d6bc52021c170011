//! The rotation function as it is deployed: ministack makes the stack of the example template, with
//! the packed program, and runs it. Its four steps are called as Secrets Manager calls them, while
//! three nodes with real agents and real sshds follow.
//!
//! ministack knows no AWS::SecretsManager::RotationSchedule, so the test takes that one resource out
//! and switches rotation on by RotateSecret; and it keeps no function's VPC settings.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use authkeys_testing::ministack::Ministack;
use authkeys_testing::{Key, eventually, lab, program, run};
use serde_json::{Value, json};

use crate::rotation_soak::Node;

const REGION: &str = "eu-west-1";
const SECRET: &str = "prod/web";
const TEMPLATE: &str = include_str!("../../examples/cloudformation/rotation.yaml");
const NODES: u32 = 3;
/// How long the old key goes on, in place of the template's ten minutes.
const GRACE: Duration = Duration::from_secs(4);

struct World {
    ministack: Ministack,
    home: PathBuf,
}

impl World {
    fn ask(&mut self, service: &str, call: &str, arguments: &Value) -> Value {
        let answer = self.ministack.ask(service, call, &arguments.to_string());
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["fault"].is_null(), "{service} {call}: {answer}");
        answer
    }

    fn put(&mut self, bucket: &str, key: &str, body: &Value) {
        let arguments = json!({"Bucket": bucket, "Key": key, "Body": body});
        self.ask("s3", "put_object", &arguments);
    }

    fn published(&mut self) -> String {
        let object = json!({"Bucket": "keys", "Key": "web.json"});
        let answer = self.ask("s3", "get_object", &object);
        answer["Body"].as_str().unwrap().to_owned()
    }

    /// The private key of a stage in a file.
    fn fetch(&mut self, stage: &str, name: &str) -> PathBuf {
        let version = json!({"SecretId": SECRET, "VersionStage": stage});
        let answer = self.ask("secretsmanager", "get_secret_value", &version);
        let value: Value = serde_json::from_str(answer["SecretString"].as_str().unwrap()).unwrap();
        let path = self.home.join(name);
        std::fs::write(&path, value["PrivateKey"].as_str().unwrap()).unwrap();
        run("chmod", &["0600", path.to_str().unwrap()]);
        path
    }

    /// Deploys the template; gives the function.
    fn deploy(&mut self, secret: &str) -> String {
        let schedule = TEMPLATE.split_once("  Rotation:\n").unwrap();
        let after = schedule.1.split_once("\n\n").unwrap().1;
        let template = format!("{}{after}", schedule.0);
        let template = template.replace("GRACE: 10m", &format!("GRACE: {}s", GRACE.as_secs()));
        let subnets = self.ask("ec2", "describe_subnets", &json!({}));
        let groups = self.ask("ec2", "describe_security_groups", &json!({}));
        let parameters = [
            ("Secret", secret),
            ("Bucket", "keys"),
            ("KeySet", "web.json"),
            ("CodeBucket", "code"),
            ("Accounts", "alice"),
            ("Login", "alice"),
            (
                "Subnets",
                subnets["Subnets"][0]["SubnetId"].as_str().unwrap(),
            ),
            (
                "SecurityGroups",
                groups["SecurityGroups"][0]["GroupId"].as_str().unwrap(),
            ),
        ];
        let parameters: Vec<Value> = parameters
            .iter()
            .map(|(name, value)| json!({"ParameterKey": name, "ParameterValue": value}))
            .collect();
        let stack = json!({"StackName": "rotation", "TemplateBody": template, "Parameters": parameters,
                           "Capabilities": ["CAPABILITY_IAM"]});
        self.ask("cloudformation", "create_stack", &stack);
        let mut found = Value::Null;
        eventually("the stack is made", || {
            let stacks = self.ask(
                "cloudformation",
                "describe_stacks",
                &json!({"StackName": "rotation"}),
            );
            found = stacks["Stacks"][0].clone();
            found["StackStatus"] != "CREATE_IN_PROGRESS"
        });
        assert_eq!(found["StackStatus"], "CREATE_COMPLETE", "{found}");
        found["Outputs"][0]["OutputValue"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// The instances with their addresses.
    fn instances(&mut self) -> Vec<(String, String)> {
        let tags = json!([{"ResourceType": "instance", "Tags": [{"Key": "RotateSSHKeys", "Value": "True"}]}]);
        let started = json!({"ImageId": "ami-1", "MinCount": NODES, "MaxCount": NODES, "TagSpecifications": tags});
        let started = self.ask("ec2", "run_instances", &started);
        let instances = started["Instances"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        instances
            .iter()
            .map(|it| (text(&it["InstanceId"]), text(&it["PrivateIpAddress"])))
            .collect()
    }

    fn step(&mut self, function: &str, secret: &str, step: &str, token: &str) {
        let event = json!({"SecretId": secret, "ClientRequestToken": token, "Step": step});
        let call = json!({"FunctionName": function, "Payload": event.to_string()});
        let answer = self.ask("lambda", "invoke", &call);
        let log = std::fs::read_to_string(self.home.join("ministack.log")).unwrap();
        assert!(answer["FunctionError"].is_null(), "{step}: {answer}\n{log}");
        assert_eq!(answer["Payload"], "null", "{step}");
    }
}

fn all_let_in(nodes: &[Node], private: &Path) -> bool {
    nodes.iter().all(|node| node.lets_in(private) == Some(true))
}

#[test]
fn the_stack_of_the_template_rotates_as_secrets_manager_calls_it_and_every_login_works() {
    if !Ministack::prepare() {
        return;
    }
    lab(|| {
        let home = PathBuf::from("/run/lab/ministack");
        std::fs::create_dir(&home).unwrap();
        let mut world = World {
            ministack: Ministack::start(REGION, &home),
            home: home.clone(),
        };
        for bucket in ["keys", "code"] {
            let arguments = json!({"Bucket": bucket, "CreateBucketConfiguration": {"LocationConstraint": REGION}});
            world.ask("s3", "create_bucket", &arguments);
        }
        let archive = home.join("authkeys-rotate-lambda.zip");
        Ministack::pack(&program("authkeys-rotate"), &archive);
        world.put(
            "code",
            "authkeys-rotate-lambda.zip",
            &json!({"file": archive}),
        );
        let admin = Key::new("admin");
        let document =
            json!({"version": 1, "name": "web", "serial": 1, "keys": [{"public_key": admin.line}]});
        world.put("keys", "web.json", &json!(document.to_string()));
        let made = json!({"Name": SECRET, "SecretString": "{}"});
        let made = world.ask("secretsmanager", "create_secret", &made);
        let secret = made["ARN"].as_str().unwrap().to_owned();
        let function = world.deploy(&secret);
        let rules = json!({"SecretId": SECRET, "RotationLambdaARN": function,
                           "RotationRules": {"AutomaticallyAfterDays": 30}, "RotateImmediately": false});
        world.ask("secretsmanager", "rotate_secret", &rules);

        let endpoint = world.ministack.endpoint().to_owned();
        let mut nodes = Vec::new();
        for (instance, address) in world.instances() {
            // The template's function logs in at port 22.
            let mut node = Node::new(&endpoint, &instance, &address);
            node.port = 22;
            node.start(&document.to_string());
            nodes.push(node);
        }
        for token in [
            "11111111-aaaa-4aaa-8aaa-aaaaaaaaaaaa",
            "22222222-aaaa-4aaa-8aaa-aaaaaaaaaaaa",
        ] {
            let is_first = token.starts_with('1');
            let pending = json!({"SecretId": SECRET, "SecretString": "{}", "ClientRequestToken": token,
                                 "VersionStages": ["AWSPENDING"]});
            world.ask("secretsmanager", "put_secret_value", &pending);
            let old = (!is_first).then(|| world.fetch("AWSCURRENT", "old"));
            for step in ["createSecret", "setSecret", "testSecret", "finishSecret"] {
                world.step(&function, &secret, step, token);
                world.step(&function, &secret, step, token);
                if !is_first || step == "finishSecret" {
                    let current = world.fetch("AWSCURRENT", "current");
                    assert!(all_let_in(&nodes, &current), "after {step}");
                }
            }
            let label = json!({"SecretId": SECRET, "VersionStage": "AWSPENDING", "RemoveFromVersionId": token});
            world.ask("secretsmanager", "update_secret_version_stage", &label);
            let Some(old) = old else { continue };
            eventually("the old key is refused by every node", || {
                nodes.iter().all(|node| node.lets_in(&old) == Some(false))
            });
            let current = world.fetch("AWSCURRENT", "current");
            assert!(all_let_in(&nodes, &current));
        }
        let document: Value = serde_json::from_str(&world.published()).unwrap();
        let keys = document["keys"].as_array().unwrap();
        assert_eq!(keys.len(), 3, "{document}");
        assert!(keys[1]["not_after"].is_string() && keys[2]["not_after"].is_null());
        assert_eq!(keys[2]["options"], json!(["restrict"]));
        let sessions = Command::new("pgrep").args(["-c", "ssh-agent"]).output();
        assert_eq!(sessions.unwrap().stdout, b"0\n");
    });
}
