//! Rotations in a row on three nodes, each with an agent, accounts file and sshd of its own. Runs
//! are killed, a node is down and comes late, the API refuses calls for a while; meanwhile somebody
//! logs in with the current key at every node, again and again.
//!
//! AUTHKEYSD_ROTATIONS says how many; a few are enough to see that nothing has broken.

use std::collections::BTreeSet;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use authkeys_testing::imds::Imds;
use authkeys_testing::moto::Moto;
use authkeys_testing::throttle::Throttle;
use authkeys_testing::{
    Key, Run, Service, Setup, clean_ctl, eventually, lab, outcome_of, run, stand_in,
};
use serde_json::{Value, json};

/// Where the stand-in of the metadata service says that each instance is.
pub(crate) const REGION: &str = "eu-west-1";
const SECRET: &str = "prod/web";
const NODES: usize = 3;
/// One of each fault.
const ROTATIONS: usize = 3;

/// A node: an address of this machine, with sshd and agent.
pub(crate) struct Node {
    pub(crate) address: String,
    /// Of its sshd.
    pub(crate) port: u16,
    home: PathBuf,
    setup: Setup,
    _imds: Imds,
    parts: Option<(Service, Sshd)>,
    is_up: AtomicBool,
}

struct Sshd(Child);

impl Drop for Sshd {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Node {
    pub(crate) fn new(endpoint: &str, instance: &str, address: &str) -> Self {
        run(
            "ip",
            &["addr", "add", &format!("{address}/32"), "dev", "lo"],
        );
        // sshd wants no directory above the file that others can write.
        let home = PathBuf::from(format!("/run/lab/{instance}"));
        std::fs::create_dir_all(home.join("keys")).unwrap();
        let imds = Imds::start(instance);
        let mut setup = Setup::new();
        setup.source = "s3://keys/web.json".to_owned();
        setup.top = "schedule = \"1s\"".to_owned();
        setup.use_s3_at(endpoint);
        // In the instance's own region.
        setup.environment.retain(|(name, _)| name != "AWS_REGION");
        let region = ("AWS_REGION".to_owned(), REGION.to_owned());
        setup.environment.push(region);
        setup.environment.extend(imds.environment());
        let file = format!("file = \"{}/keys/%u\"", home.display());
        let setup = setup
            .account("alice", &file)
            .tables("[report]\nec2_tags = true\nreport_spread = \"1s\"\n");
        Self {
            address: address.to_owned(),
            port: 2222,
            home,
            setup,
            _imds: imds,
            parts: None,
            is_up: AtomicBool::new(false),
        }
    }

    /// Follows this key set for this account, in place of the usual ones.
    pub(crate) fn follow(&mut self, source: &str, user: &str) {
        self.setup.source = source.to_owned();
        self.setup.accounts[0].user = user.to_owned();
    }

    pub(crate) fn file(&self) -> String {
        let user = &self.setup.accounts[0].user;
        std::fs::read_to_string(self.home.join("keys").join(user)).unwrap_or_default()
    }

    /// As at a boot: the agent first, and sshd when the keys are there.
    pub(crate) fn start(&mut self, published: &str) {
        let agent = Service::start(&self.setup, |_| {});
        let (wanted, begun) = (keys_of(published), Instant::now());
        while !wanted.iter().all(|key| self.file().contains(key)) {
            let log = agent.log();
            assert!(begun.elapsed() < Duration::from_secs(120), "{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let config = format!(
            "Port {}\nListenAddress {}\nHostKey /run/lab/host_key\nPidFile none\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 200\n\
             AuthorizedKeysFile {}/keys/%u\n",
            self.port,
            self.address,
            self.home.display()
        );
        let of_the_lab = std::fs::read_to_string("/etc/ssh/sshd_config").unwrap();
        let penalties = of_the_lab
            .lines()
            .find(|line| line.starts_with("PerSourcePenalties"));
        let config = format!("{config}{}\n", penalties.unwrap_or_default());
        std::fs::write(self.home.join("sshd_config"), config).unwrap();
        let sshd = Command::new("/usr/sbin/sshd")
            .arg("-D")
            .arg("-f")
            .arg(self.home.join("sshd_config"))
            .arg("-E")
            .arg(self.home.join("sshd.log"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let sshd = Sshd(sshd);
        eventually("sshd listens", || {
            std::net::TcpStream::connect((self.address.as_str(), self.port)).is_ok()
        });
        self.parts = Some((agent, sshd));
        self.is_up.store(true, Ordering::SeqCst);
    }

    fn stop(&mut self) {
        self.is_up.store(false, Ordering::SeqCst);
        self.parts = None;
    }

    /// Whether sshd lets alice in with a private key; `None` where the node went down meanwhile.
    pub(crate) fn lets_in(&self, private: &Path) -> Option<bool> {
        let ssh = std::env::var("LAB_SSH").unwrap();
        let mut words = ssh.split_whitespace();
        let output = Command::new(words.next().unwrap())
            // The first port counts.
            .args(["-p", &self.port.to_string()])
            .args(words)
            .arg("-i")
            .arg(private)
            .arg(format!("alice@{}", self.address))
            .arg("true")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() && !self.is_up.load(Ordering::SeqCst) {
            return None;
        }
        assert!(
            output.status.success() || stderr.contains("Permission denied"),
            "{stderr}"
        );
        Some(output.status.success())
    }
}

/// The base64 of each key in a document.
fn keys_of(document: &str) -> BTreeSet<String> {
    let document: Value = serde_json::from_str(document).unwrap();
    let entries = document["keys"].as_array().unwrap().iter();
    entries
        .map(|key| body(key["public_key"].as_str().unwrap()))
        .collect()
}

/// What tells a public key from every other.
fn body(line: &str) -> String {
    line.split(' ').nth(1).unwrap().to_owned()
}

struct World {
    moto: Moto,
    throttle: Throttle,
    clients: tempfile::TempDir,
}

impl World {
    fn secret(&self, call: &str, body: &Value) -> Value {
        let target = format!("secretsmanager.{call}");
        let answer = self
            .moto
            .json("secretsmanager", REGION, &target, &body.to_string());
        serde_json::from_str(&answer).unwrap()
    }

    fn current(&self) -> Value {
        let body = json!({"SecretId": SECRET, "VersionStage": "AWSCURRENT"});
        let found = self.secret("GetSecretValue", &body);
        serde_json::from_str(found["SecretString"].as_str().unwrap()).unwrap()
    }

    /// The current private key in a file, as a client that fetches it now, and its public half.
    fn fetch(&self, name: &str) -> (PathBuf, String) {
        let value = self.current();
        let path = self.clients.path().join(name);
        let _ = std::fs::remove_file(&path);
        let mut file = std::fs::File::options();
        let mut file = file
            .write(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .unwrap();
        std::io::Write::write_all(&mut file, value["PrivateKey"].as_str().unwrap().as_bytes())
            .unwrap();
        (path, body(value["PublicKey"].as_str().unwrap()))
    }

    fn published(&self) -> String {
        self.moto.object("keys", "web.json")
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = clean_ctl();
        command
            .envs(stand_in(&self.throttle.endpoint()))
            .env("AWS_REGION", REGION)
            .args(["rotate", "s3://keys/web.json", "--secret", SECRET])
            .args(["--filter", "tag:RotateSSHKeys=True", "--grace", "2s"])
            .args(["--login", "alice", "--port", "2222"])
            .args(more);
        command
    }

    fn rotate(&self, more: &[&str]) -> Run {
        outcome_of(&mut self.command(more))
    }

    /// All versions with a key pair, and all labels.
    fn left(&self) -> (usize, Vec<String>) {
        let body = json!({"SecretId": SECRET, "IncludeDeprecated": true});
        let listed = self.secret("ListSecretVersionIds", &body);
        let versions = listed["Versions"].as_array().unwrap();
        let mut labels = BTreeSet::new();
        for version in versions {
            for label in version["VersionStages"].as_array().into_iter().flatten() {
                labels.insert(label.as_str().unwrap().to_owned());
            }
        }
        (versions.len(), labels.into_iter().collect())
    }
}

pub(crate) fn instances(moto: &Moto) -> Vec<(String, String)> {
    let form = format!(
        "Action=RunInstances&Version=2016-11-15&ImageId=ami-12c6146b&MinCount={NODES}&MaxCount={NODES}&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=RotateSSHKeys&TagSpecification.1.Tag.1.Value=True"
    );
    moto.query("ec2", REGION, &form);
    let answer = moto.query("ec2", REGION, "Action=DescribeInstances&Version=2016-11-15");
    let after = |mark: &str| -> Vec<String> {
        let parts = answer.split(mark).skip(1);
        parts
            .map(|rest| rest.split('<').next().unwrap().to_owned())
            .collect()
    };
    let mut addresses = after("<privateIpAddress>");
    // Each is there once more, for the network interface.
    addresses.dedup();
    let found: Vec<_> = after("<instanceId>").into_iter().zip(addresses).collect();
    assert_eq!(found.len(), NODES, "{answer}");
    found
}

/// Logs in at every node that is up with the key that is current, until it is told to stop.
fn judge(world: &World, nodes: &[Node], stop: &AtomicBool, logins: &AtomicUsize) {
    while !stop.load(Ordering::SeqCst) {
        for node in nodes
            .iter()
            .filter(|node| node.is_up.load(Ordering::SeqCst))
        {
            let (private, key) = world.fetch("judge");
            if node.lets_in(&private) == Some(false) {
                // A login that took longer than the old key lasts tells nothing.
                let (_, now) = world.fetch("judge");
                assert_ne!(key, now, "the current key is refused by {}", node.address);
            }
            logins.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Runs `work` while somebody judges.
fn judged(world: &World, nodes: &[Node], logins: &AtomicUsize, work: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let judge = scope.spawn(|| judge(world, nodes, &stop, logins));
        // A judge who panics ends the test when it is over.
        work();
        stop.store(true, Ordering::SeqCst);
        judge.join().unwrap();
    });
}

/// Starts a rotation, kills it after so long, and does the same again.
fn killed(world: &World, round: usize, seen: &mut BTreeSet<String>) {
    for milliseconds in [150, 700, 2_300] {
        let milliseconds = milliseconds + 137 * u64::try_from(round % 17).unwrap();
        let mut command = world.command(&["--timeout", "60s"]);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        seen.insert(world.fetch("current").1);
    }
}

/// The API refuses calls for a while in the middle of it.
fn throttled(world: &World, round: usize) {
    let mut command = world.command(&["--timeout", "60s"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(
        100 * u64::try_from(round % 30).unwrap(),
    ));
    world.throttle.shut_for(Duration::from_secs(1));
    let output = child.wait_with_output().unwrap();
    // It may have been over before.
    world.throttle.open();
    let said = String::from_utf8(output.stderr).unwrap();
    let stopped = matches!(output.status.code(), Some(75)) && said.contains("attempts)");
    assert!(output.status.success() || stopped, "{said}");
}

#[test]
fn f58_rotations_in_a_row_with_faults_refuse_no_current_key_and_leave_nothing_behind() {
    if !Moto::prepare() {
        return;
    }
    lab(|| {
        let rotations = std::env::var("AUTHKEYSD_ROTATIONS");
        let rotations = rotations.map_or(ROTATIONS, |number| number.parse().unwrap());
        let admin = Key::new("admin");
        let moto = Moto::start();
        moto.make_bucket("keys");
        let document =
            json!({"version": 1, "name": "web", "serial": 1, "keys": [{"public_key": admin.line}]});
        moto.put_object("keys", "web.json", format!("{document}\n").as_bytes());
        let mut nodes: Vec<Node> = instances(&moto)
            .iter()
            .map(|(instance, address)| Node::new(&moto.endpoint(), instance, address))
            .collect();
        let world = World {
            throttle: Throttle::before(&moto.endpoint()),
            moto,
            clients: tempfile::tempdir().unwrap(),
        };
        world.secret(
            "CreateSecret",
            &json!({"Name": SECRET, "SecretString": "{}"}),
        );
        for node in &mut nodes {
            node.start(&world.published());
        }
        let first = world.rotate(&["--accounts", "alice", "--timeout", "60s"]);
        assert_eq!((first.status, first.stderr.as_str()), (0, ""), "{first:?}");

        let (logins, begun) = (AtomicUsize::new(0), Instant::now());
        let mut seen = BTreeSet::from([world.fetch("current").1]);
        let mut old = Vec::new();
        for round in 0..rotations {
            let name = format!("old-{}", round % 5);
            old.retain(|path: &PathBuf| !path.ends_with(&name));
            old.push(world.fetch(&name).0);
            match round % 4 {
                0 => judged(&world, &nodes, &logins, || killed(&world, round, &mut seen)),
                1 => {
                    nodes[round % NODES].stop();
                    judged(&world, &nodes, &logins, || {
                        let run = world.rotate(&["--timeout", "10s"]);
                        run.fails(1, &[&["2 of 3 nodes have web/"]]);
                    });
                    // It comes back while the next run waits for it.
                    let mut late = world.command(&["--timeout", "60s"]);
                    let mut late = late.stdout(Stdio::null()).spawn().unwrap();
                    std::thread::sleep(Duration::from_millis(500));
                    nodes[round % NODES].start(&world.published());
                    judged(&world, &nodes, &logins, || {
                        assert!(late.wait().unwrap().success());
                    });
                }
                2 => judged(&world, &nodes, &logins, || throttled(&world, round)),
                _ => {}
            }
            seen.insert(world.fetch("current").1);
            judged(&world, &nodes, &logins, || {
                let run = world.rotate(&["--timeout", "60s"]);
                assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{run:?}");
            });
            let (current, key) = world.fetch("current");
            seen.insert(key.clone());

            let wanted = BTreeSet::from([body(&admin.line), key]);
            assert_eq!(keys_of(&world.published()), wanted);
            for node in &nodes {
                eventually("no other key is left on a node", || {
                    let file = node.file();
                    let keys = file.lines().filter(|line| line.contains(" AAAA"));
                    keys.count() == 2 && wanted.iter().all(|key| file.contains(key))
                });
                assert_eq!(node.lets_in(&current), Some(true));
                for path in &old {
                    assert_eq!(node.lets_in(path), Some(false), "{}", path.display());
                }
            }
            let (versions, labels) = world.left();
            // The empty one came before the first.
            assert_eq!(versions, seen.len() + 1, "round {round}");
            assert_eq!(labels, ["AWSCURRENT", "AWSPREVIOUS"], "round {round}");
        }
        let agents = Command::new("pgrep").args(["-c", "ssh-agent"]).output();
        assert_eq!(agents.unwrap().stdout, b"0\n");
        let logins = logins.into_inner();
        let summary = format!(
            "{} rotations, {logins} logins meanwhile, {} calls refused, in {:?}",
            seen.len(),
            world.throttle.refused(),
            begun.elapsed()
        );
        std::fs::write(authkeys_testing::scratch().join("rotations"), summary).unwrap();
        assert!(logins > rotations * NODES, "{logins} logins");
        assert!(world.throttle.refused() > 0, "it was never in the way");
    });
    // What is printed on the private machine is not seen here.
    let summary = std::fs::read_to_string(authkeys_testing::scratch().join("rotations"));
    println!("{}", summary.unwrap_or_default());
}
