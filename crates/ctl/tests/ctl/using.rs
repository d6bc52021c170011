//! `authkeysctl ssh` and `authkeysctl agent`: logins through a real sshd with the keys of a secret,
//! and with no others.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use authkeys_testing::moto::Moto;
use authkeys_testing::{
    Key, KeyType, Run, clean_ctl, inside, install, lab, outcome_of, sshd_log, stand_in,
};
use serde_json::{Value, json};

const SECRET: &str = "prod/ssh/workers";

/// A private machine with Secrets Manager, and its owner's `~/.ssh`.
pub(crate) struct Bench {
    pub(crate) moto: Moto,
    home: PathBuf,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let home = PathBuf::from("/run/lab/root");
        fs::create_dir_all(home.join(".ssh")).unwrap();
        Self {
            moto: Moto::start(),
            home,
        }
    }

    fn call(&self, operation: &str, body: &Value) -> Value {
        let target = format!("secretsmanager.{operation}");
        let answer = self
            .moto
            .json("secretsmanager", "us-east-1", &target, &body.to_string());
        serde_json::from_str(&answer).unwrap()
    }

    pub(crate) fn create(&self, name: &str, value: &str) {
        self.call(
            "CreateSecret",
            &json!({"Name": name, "SecretString": value}),
        );
    }

    /// A secret in the middle of a rotation: its last key is AWSPREVIOUS, the new one AWSCURRENT.
    pub(crate) fn rotate(&self, name: &str, old: &Key, new: &Key) {
        let made = self.call(
            "CreateSecret",
            &json!({"Name": name, "SecretString": pair(old)}),
        );
        let put =
            json!({"SecretId": name, "SecretString": pair(new), "VersionStages": ["AWSPENDING"]});
        let pending = self.call("PutSecretValue", &put);
        self.call(
            "UpdateSecretVersionStage",
            &json!({"SecretId": name, "VersionStage": "AWSCURRENT",
                "MoveToVersionId": pending["VersionId"], "RemoveFromVersionId": made["VersionId"]}),
        );
    }

    /// The companion, as the machine's owner runs it.
    pub(crate) fn ctl(&self) -> Command {
        let mut command = clean_ctl();
        command
            .envs(stand_in(&self.moto.endpoint()))
            .env("HOME", &self.home);
        command
    }

    fn ssh(&self, before: &[&str], more: &[&str]) -> Run {
        let port = std::env::var("LAB_PORT").unwrap();
        let host = [
            "-p",
            &port,
            "-oUserKnownHostsFile=/dev/null",
            "-oBatchMode=yes",
        ];
        let quiet = ["-oStrictHostKeyChecking=no", "-oLogLevel=ERROR"];
        let mut command = self.ctl();
        command.args(before).args(host).args(quiet).args(more);
        outcome_of(&mut command)
    }

    fn own(&self, name: &str, key: &Key) {
        let file = self.home.join(".ssh").join(name);
        fs::copy(key.private(), &file).unwrap();
        fs::write(file.with_extension("pub"), format!("{}\n", key.line)).unwrap();
    }
}

/// The value of a rotation secret.
pub(crate) fn pair(key: &Key) -> String {
    let private = fs::read_to_string(key.private()).unwrap();
    json!({"PrivateKey": private, "PublicKey": key.line, "Owner": "ops"}).to_string()
}

/// Runs a test on a private machine with moto.
#[track_caller]
pub(crate) fn with_bench(test: impl FnOnce(&Bench)) {
    test(&Bench::new());
}

/// Whether moto can be had; to be asked before the machine is entered.
pub(crate) fn prepared() -> bool {
    inside() || Moto::prepare()
}

/// Runs a tool of the test's own.
fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// The fingerprints of keys that sshd was offered since it had written so much, in their order.
fn offered(since: usize) -> Vec<String> {
    let log = sshd_log();
    let mut keys: Vec<String> = Vec::new();
    for line in log[since..].lines() {
        if !line.contains("Failed publickey") && !line.contains("Accepted publickey") {
            continue;
        }
        let words = line.split_whitespace();
        keys.extend(
            words
                .filter(|word| word.starts_with("SHA256:"))
                .map(str::to_owned),
        );
    }
    keys.dedup();
    keys
}

#[test]
fn in_the_middle_of_a_rotation_the_current_key_is_offered_first_and_the_previous_one_gets_in() {
    if !prepared() {
        return;
    }
    lab(|| {
        with_bench(|bench| {
            let (old, new) = (Key::of_type(KeyType::Rsa2048, "old"), Key::new("new"));
            bench.rotate(SECRET, &old, &new);
            let both = [new.fingerprint(), old.fingerprint()];
            for (line, tried) in [(&new.line, &both[..1]), (&old.line, &both[..])] {
                install("alice", line.as_bytes());
                let since = sshd_log().len();
                let before = ["ssh", "--secret", SECRET];
                let run = bench.ssh(&before, &["alice@127.0.0.1", "id -un; exit 7"]);
                assert_eq!((run.status, run.stdout.as_str()), (7, "alice\n"), "{run:?}");
                assert_eq!(run.stderr, "");
                assert_eq!(offered(since), tried);
            }
            // One stage alone, whatever else there is.
            for (stage, status, tried) in [
                ("AWSCURRENT", 255, &both[..1]),
                ("AWSPREVIOUS", 0, &both[1..]),
            ] {
                let since = sshd_log().len();
                let before = ["ssh", "--secret", SECRET, "--stage", stage];
                let run = bench.ssh(&before, &["-l", "alice", "127.0.0.1", "true"]);
                assert_eq!(run.status, status, "{run:?}");
                assert_eq!(offered(since), tried);
            }
        });
    });
}

#[test]
fn no_other_key_is_offered_whatever_agent_files_and_ssh_config_have() {
    if !prepared() {
        return;
    }
    lab(|| {
        with_bench(|bench| {
            let [login, file, configured, included, agent] =
                ["login", "file", "configured", "included", "agent"].map(Key::new);
            bench.create(SECRET, &pair(&login));
            bench.own("id_ed25519", &file);
            bench.own("configured", &configured);
            bench.own("included", &included);
            let home = &bench.home;
            let write = |name: &str, text: &str| {
                fs::write(home.join(".ssh").join(name), text).unwrap();
            };
            write(
                "config",
                "Include more\nHost node\n  HostName 127.0.0.1\n  User alice\n  IdentityFile ~/.ssh/configured\n  IdentitiesOnly yes\n",
            );
            write("more", "Host *\n  IdentityFile ~/.ssh/included\n");
            write(
                "other",
                "Host node\nHostName 127.0.0.1\nUser alice\nIdentityFile ~/.ssh/configured\n",
            );
            let socket = "/run/lab/agent";
            succeed(Command::new("ssh-agent").args(["-a", socket]));
            succeed(
                Command::new("ssh-add")
                    .arg("-q")
                    .arg(agent.private())
                    .env("SSH_AUTH_SOCK", socket),
            );

            // All of them would get in.
            let all = [&file, &configured, &included, &agent].map(|key| key.line.clone());
            install("alice", all.join("\n").as_bytes());
            let other = home.join(".ssh/other");
            let ways: [&[&str]; 5] = [
                &["ssh", "--secret", SECRET],
                &["ssh", "--secret", SECRET, "-F", other.to_str().unwrap()],
                &["agent", "--secret", SECRET, "--", "ssh"],
                &[
                    "agent",
                    "--secret",
                    SECRET,
                    "--",
                    "sh",
                    "-c",
                    "ssh \"$@\"",
                    "sh",
                ],
                // The jump host's ssh does not see the options of the first one.
                &["ssh", "--secret", SECRET, "-J", "alice@localhost:2222"],
            ];
            let with_agent = |before: &[&str], more: &[&str]| {
                let mut command = bench.ctl();
                let port = std::env::var("LAB_PORT").unwrap();
                command
                    .env("SSH_AUTH_SOCK", socket)
                    .args(before)
                    .args([
                        "-p",
                        &port,
                        "-oUserKnownHostsFile=/dev/null",
                        "-oBatchMode=yes",
                    ])
                    .args(["-oStrictHostKeyChecking=no", "-oLogLevel=ERROR"])
                    .args(more);
                outcome_of(&mut command)
            };
            write("known_hosts", &known_host());
            for way in ways {
                let since = sshd_log().len();
                let run = with_agent(way, &["node", "true"]);
                assert_eq!(run.status, 255, "{way:?}: {run:?}");
                assert_eq!(offered(since), [login.fingerprint()], "{way:?}: {run:?}");
            }
            // And with its own key in place each of the ways works.
            install("alice", login.line.as_bytes());
            for way in ways {
                let run = with_agent(way, &["node", "echo in"]);
                assert_eq!(
                    (run.status, run.stdout.as_str()),
                    (0, "in\n"),
                    "{way:?}: {run:?}"
                );
            }
            let copied = Path::new("/run/lab/copied");
            // Not by SFTP, which the machine's sshd does not have.
            let mut scp = bench.ctl();
            scp.args([
                "agent", "--secret", SECRET, "--", "scp", "-O", "-q", "-P", "2222",
            ])
            .args([
                "-oUserKnownHostsFile=/dev/null",
                "-oStrictHostKeyChecking=no",
            ])
            .args(["alice@127.0.0.1:/etc/passwd", copied.to_str().unwrap()]);
            assert_eq!(outcome_of(&mut scp).status, 0);
            succeed(
                Command::new("ssh-agent")
                    .arg("-k")
                    .env("SSH_AGENT_PID", agent_of(socket)),
            );
        });
    });
}

/// The line of known_hosts for the lab's sshd, for the ssh of a jump host.
fn known_host() -> String {
    let key = fs::read_to_string("/run/lab/host_key.pub").unwrap();
    format!("[localhost]:2222,[127.0.0.1]:2222 {key}")
}

/// The process of an agent that was started with `-a SOCKET`.
fn agent_of(socket: &str) -> String {
    processes()
        .into_iter()
        .find(|(_, line)| line.starts_with("ssh-agent") && line.contains(socket))
        .unwrap()
        .0
        .to_string()
}

/// All processes, with their command lines.
pub(crate) fn processes() -> Vec<(i32, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        all.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
    }
    all
}

#[test]
fn every_form_of_a_private_key_that_ssh_knows_gets_in() {
    if !prepared() {
        return;
    }
    lab(|| {
        with_bench(|bench| {
            for (at, key_type) in KeyType::ALL.into_iter().enumerate() {
                let key = Key::of_type(key_type, "k");
                install("alice", key.line.as_bytes());
                let openssh = fs::read_to_string(key.private()).unwrap();
                let mut values = vec![pair(&key), openssh.clone(), openssh.replace('\n', " ")];
                if key_type != KeyType::Ed25519 {
                    let file = key.private();
                    succeed(
                        Command::new("ssh-keygen")
                            .args(["-q", "-p", "-N", "", "-m", "PEM", "-f"])
                            .arg(&file),
                    );
                    values.push(fs::read_to_string(file).unwrap());
                }
                for (form, value) in values.iter().enumerate() {
                    let name = format!("k{at}-{form}");
                    bench.create(&name, value);
                    let run = bench.ssh(&["ssh", "--secret", &name], &["alice@127.0.0.1", "true"]);
                    run.succeeds();
                }
            }
        });
    });
}

#[test]
fn each_failure_is_one_line_with_its_remedy_and_leaves_no_agent() {
    if !prepared() {
        return;
    }
    lab(|| {
        with_bench(|bench| {
            let key = Key::new("k");
            bench.create(SECRET, &pair(&key));
            bench.create("public", &json!({"PublicKey": key.line}).to_string());
            bench.create("password", "{\"password\": \"hunter2\"}");
            let file = key.private();
            succeed(
                Command::new("ssh-keygen")
                    .args(["-q", "-p", "-N", "secret", "-f"])
                    .arg(&file),
            );
            bench.create("passphrase", &fs::read_to_string(&file).unwrap());
            let armor = [
                "-----BEGIN",
                "OPENSSH PRIVATE KEY-----\nAAAA\n-----END",
                "OPENSSH PRIVATE KEY-----",
            ];
            bench.create("damaged", &armor.join(" "));
            let before = fs::read_dir("/tmp").unwrap().count();
            let agent = |secret: &str, more: &[&str]| {
                let mut command = bench.ctl();
                command.args(["agent", "--secret", secret]).args(more);
                command
            };
            let cases: [(&str, &[&str], i32, &[&str]); 8] = [
                ("nosuch", &["true"], 1, &["no such secret", "AWS_REGION"]),
                (
                    SECRET,
                    &["--stage", "AWSOTHER", "true"],
                    1,
                    &["no version with the stage AWSOTHER", "--stage"],
                ),
                ("public", &["true"], 1, &["only a public key"]),
                ("password", &["true"], 1, &["no private key in it"]),
                (
                    "passphrase",
                    &["true"],
                    1,
                    &["has a passphrase", "ssh-keygen -p"],
                ),
                (
                    "damaged",
                    &["true"],
                    1,
                    &["ssh-add does not take", "ssh-keygen -y"],
                ),
                (
                    SECRET,
                    &["/nonexistent/program"],
                    1,
                    &["cannot run /nonexistent/program"],
                ),
                ("s3://b/k", &["true"], 64, &["--secret"]),
            ];
            for (secret, more, status, words) in cases {
                outcome_of(&mut agent(secret, more)).fails(status, &[words]);
            }
            // Without OpenSSH, or with half of it.
            let half = Path::new("/run/lab/half");
            fs::create_dir(half).unwrap();
            let path = half.to_str().unwrap();
            outcome_of(agent(SECRET, &["true"]).env("PATH", path)).fails(
                1,
                &[&["cannot run ssh-agent", "install the OpenSSH client"]],
            );
            std::os::unix::fs::symlink("/usr/bin/ssh-agent", half.join("ssh-agent")).unwrap();
            outcome_of(agent(SECRET, &["true"]).env("PATH", path))
                .fails(1, &[&["cannot run ssh-add", "install the OpenSSH client"]]);
            let nowhere =
                outcome_of(agent(SECRET, &["true"]).env("AWS_ENDPOINT_URL", "http://127.0.0.1:9"));
            nowhere.fails(75, &[&[SECRET, "127.0.0.1:9"]]);
            outcome_of(agent(SECRET, &["true"]).env("TMPDIR", "/nonexistent"))
                .fails(1, &[&["temporary directory", "TMPDIR"]]);
            let long = format!("/tmp/{}", "long".repeat(30));
            fs::create_dir(&long).unwrap();
            outcome_of(agent(SECRET, &["true"]).env("TMPDIR", &long))
                .fails(1, &[&["ssh-agent did not start", "TMPDIR"]]);
            fs::remove_dir_all(long).unwrap();

            authkeys_testing::eventually("no agent and nothing of it is left", || {
                let agents = processes()
                    .into_iter()
                    .filter(|(_, line)| line.starts_with("ssh-agent"));
                agents.count() == 0 && fs::read_dir("/tmp").unwrap().count() == before
            });
        });
    });
}

#[test]
fn the_command_gets_the_agent_its_arguments_and_its_own_exit_status() {
    if !prepared() {
        return;
    }
    lab(|| {
        with_bench(|bench| {
            let key = Key::new("k");
            bench.create(SECRET, &pair(&key));
            let shell = |text: &str| {
                let mut command = bench.ctl();
                command
                    .args([
                        "agent",
                        "--secret",
                        &format!("secretsmanager:{SECRET}?region=us-east-1"),
                    ])
                    .args(["--", "sh", "-c", text, "name", "-x", "--secret"])
                    .env("GLIBC_TUNABLES", "a.b.c=1")
                    .env("SSH_AGENT_PID", "1");
                outcome_of(&mut command)
            };
            let run = shell(
                "ssh-add -L; echo \"$1 $2 ${GLIBC_TUNABLES-unset} $(env | grep -c AUTHKEYSCTL)\"; \
                 exit 42",
            );
            assert_eq!(run.status, 42, "{run:?}");
            assert_eq!(run.stdout, format!("{}\n-x --secret a.b.c=1 0\n", key.line));
            let run = shell("cat /proc/$SSH_AGENT_PID/comm");
            assert_eq!(run.stdout, "ssh-agent\n", "{run:?}");
            // The directory is this user's alone.
            let run = shell("stat -c %a \"${SSH_AUTH_SOCK%/*}\"; ulimit -c; kill -9 $$");
            assert_eq!(run.status, -1, "a signal ended it: {run:?}");
            let mode = fs::metadata("/tmp").unwrap().permissions().mode();
            assert_eq!(mode & 0o1000, 0o1000);
            assert!(run.stdout.starts_with("700\n"), "{run:?}");
        });
    });
}
