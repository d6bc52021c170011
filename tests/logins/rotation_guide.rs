//! docs/rotate.md as a new user follows it: from an empty AWS, by the commands of the page, to two
//! rotations and a login with `authkeysctl ssh` during the second.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, blocks, clean_ctl, eventually, lab, outcome_of, stand_in};
use serde_json::{Value, json};

use crate::rotation_soak::{Node, REGION, instances};

const GUIDE: &str = include_str!("../../docs/rotate.md");

/// The words of the first command in the guide that begins so.
fn command(begins: &str) -> Vec<String> {
    let shell = blocks(GUIDE, "sh").collect::<String>();
    let mut lines = GUIDE.split('`').chain(shell.lines()).map(str::trim);
    let line = lines.find(|line| line.starts_with(begins) && line.contains(" --"));
    let line = line.unwrap_or_else(|| panic!("the guide has no {begins}"));
    line.split_whitespace().map(str::to_owned).collect()
}

/// What follows a word.
fn after<'a>(words: &'a [String], word: &str) -> &'a str {
    let at = words.iter().position(|it| it == word);
    &words[at.unwrap_or_else(|| panic!("{words:?}: no {word}")) + 1]
}

#[test]
fn the_guide_of_rotations_leads_from_an_empty_aws_to_a_login_during_the_second_rotation() {
    if !Moto::prepare() {
        return;
    }
    lab(|| {
        let moto = Moto::start();
        let rotate = command("authkeysctl rotate");
        let target = rotate[2].clone();
        let (bucket, object) = target.trim_start_matches("s3://").split_once('/').unwrap();
        // The account of the page, on this machine too.
        let user = after(&rotate, "--login").to_owned();
        let machine = |file: &str, line: &str| {
            let old = std::fs::read_to_string(file).unwrap();
            std::fs::write(file, format!("{old}{line}\n")).unwrap();
        };
        machine(
            "/etc/passwd",
            &format!("{user}:x:60003:60003::/home/{user}:/bin/sh"),
        );
        machine("/etc/group", &format!("{user}:x:60003:"));
        machine("/etc/shadow", &format!("{user}:*:19000::::::"));
        std::fs::create_dir(format!("/home/{user}")).unwrap();
        let ctl = |words: &[String]| {
            let mut command = clean_ctl();
            command
                .envs(stand_in(&moto.endpoint()))
                .env("AWS_REGION", REGION)
                .args(words);
            command
        };

        // 1. A key set with a name and a key of one's own, which nodes follow; 2. their reports.
        moto.make_bucket(bucket);
        let admin = Key::new("admin");
        let document =
            json!({"version": 1, "name": "workers", "keys": [{"public_key": admin.line}]});
        let file = "/run/lab/workers.json";
        std::fs::write(file, document.to_string()).unwrap();
        let publish = ["publish", file, &target, "--yes"].map(str::to_owned);
        outcome_of(&mut ctl(&publish)).succeeds();
        let mut nodes = Vec::new();
        for (instance, address) in instances(&moto) {
            let mut node = Node::new(&moto.endpoint(), &instance, &address);
            node.port = 22;
            node.follow(&target, &user);
            node.start(&moto.object(bucket, object));
            nodes.push(node);
        }

        // 4. The secret, by the command of the page.
        let create = command("aws secretsmanager create-secret");
        let name = after(&create, "--name");
        assert_eq!(name, after(&rotate, "--secret"));
        let value = after(&create, "--secret-string").trim_matches('\'');
        let body = json!({"Name": name, "SecretString": value}).to_string();
        moto.json(
            "secretsmanager",
            REGION,
            "secretsmanager.CreateSecret",
            &body,
        );

        // 5. and 6. The page's command; only the old key's end comes sooner.
        let dry = outcome_of(&mut ctl(&rotate[1..]));
        dry.succeeds();
        assert!(dry.stdout.contains("(to do)"), "{dry:?}");
        let mut for_real: Vec<String> = rotate[1..].to_vec();
        for_real.retain(|word| word != "--dry-run");
        for_real.extend(["--grace", "10s"].map(str::to_owned));
        outcome_of(&mut ctl(&for_real)).succeeds();

        // The second one, during which somebody logs in.
        let mut second = ctl(&for_real).stdout(Stdio::piped()).spawn().unwrap();
        let login = command("authkeysctl ssh");
        assert_eq!(after(&login, "--secret"), name);
        let mut logins = 0;
        while second.try_wait().unwrap().is_none() {
            for node in &nodes {
                let mut words: Vec<String> = login[1..].to_vec();
                let place = words.last_mut().unwrap();
                *place = format!("{user}@{}", node.address);
                let options = [
                    "-o",
                    "StrictHostKeyChecking=no",
                    "-o",
                    "UserKnownHostsFile=/dev/null",
                    "-o",
                    "LogLevel=ERROR",
                    "echo",
                    "in",
                ];
                words.extend(options.map(str::to_owned));
                let mut ssh = ctl(&words);
                ssh.env("HOME", "/run/lab/root").stdin(Stdio::null());
                // A group of its own: its agent is seen to end with it.
                ssh.process_group(0);
                let run = outcome_of(&mut ssh);
                assert_eq!((run.status, run.stdout.as_str()), (0, "in\n"), "{run:?}");
                logins += 1;
            }
        }
        let output = second.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && logins > 3, "{said}");
        assert!(
            said.contains("the old key is refused by all 3 nodes"),
            "{said}"
        );
        let published: Value = serde_json::from_str(&moto.object(bucket, object)).unwrap();
        assert_eq!(published["keys"].as_array().unwrap().len(), 2);
        eventually("no agent is left", || {
            let agents = Command::new("pgrep").args(["-c", "ssh-agent"]).output();
            agents.unwrap().stdout == b"0\n"
        });
    });
}
