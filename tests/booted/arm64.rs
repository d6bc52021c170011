//! The packages for arm64, whose programs run under qemu in an arm64 Debian (tests/lab/arm64.sh),
//! with an arm64 sshd as the judge of logins.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, below, checkout, eventually, run, scratch, stand_in};

use crate::built::{Kind, built_for, document, output};

const ARCH: &str = "aarch64";
const PORT: &str = "2222";
const CYCLES: usize = 100;

/// The root of the arm64 Debian in which this test runs.
fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("ARM64_ROOT").unwrap())
}

/// A program of the arm64 Debian, with the credentials of a stand-in for AWS.
fn arm64(endpoint: &str, program: &str) -> Command {
    let mut command = Command::new("chroot");
    command
        .arg(root())
        .arg(program)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(stand_in(endpoint))
        .stdin(Stdio::null());
    command
}

/// Ended when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Copies a package into the arm64 Debian and installs it there, scripts and all. What it depends
/// on is unpacked there, but dpkg does not know that.
fn install(package: &Path) {
    std::fs::copy(package, root().join("root/package.deb")).unwrap();
    let arguments = ["dpkg", "--force-depends", "-i", "/root/package.deb"];
    run(
        "chroot",
        &[&[root().to_str().unwrap()][..], &arguments].concat(),
    );
}

fn start_sshd() -> Running {
    let key = root().join("etc/ssh/host_key");
    run(
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "", "-f", key.to_str().unwrap()],
    );
    let config = "HostKey /etc/ssh/host_key\nUsePAM no\nPasswordAuthentication no\n";
    std::fs::write(root().join("etc/ssh/sshd_config"), config).unwrap();
    let mut command = arm64("", "/usr/sbin/sshd");
    let child = command
        .args(["-D", "-p", PORT])
        .stderr(Stdio::null())
        .spawn();
    let sshd = Running(child.unwrap());
    eventually("sshd listens", || {
        std::net::TcpStream::connect(format!("127.0.0.1:{PORT}")).is_ok()
    });
    sshd
}

/// Whether sshd lets in alice with this key.
fn login(key: &Key) -> bool {
    let output = Command::new("ssh")
        .args(["-F", "none", "-p", PORT, "-o", "BatchMode=yes"])
        .args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"])
        .args(["-o", "UserKnownHostsFile=/dev/null"])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "LogLevel=ERROR",
            "-i",
        ])
        .arg(key.private())
        .args(["alice@127.0.0.1", "uname -m"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let [out, fault] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(
        output.status.success() || fault.contains("Permission denied"),
        "neither let in nor refused: {fault}"
    );
    assert!(!output.status.success() || out == "aarch64\n", "{out}");
    output.status.success()
}

/// How many cycles the service has ended well, as its metrics say.
fn cycles() -> usize {
    let metrics = std::fs::read_to_string(root().join("run/authkeysd.prom"));
    let counts = metrics.unwrap_or_default();
    counts
        .lines()
        .filter(|line| line.starts_with("authkeysd_cycles_total{status=\"ok\"}"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
        .sum()
}

#[test]
fn the_arm64_packages_bring_a_published_key_to_a_login_and_serve_a_hundred_cycles() {
    let Some([node, operator]) = built_for(Kind::Deb, ARCH) else {
        return;
    };
    if !Moto::prepare() {
        return;
    }
    let script = checkout().join("tests/lab/arm64.sh");
    let tree = scratch().join("boxes/arm64");
    if !tree.is_dir() {
        output(Command::new(&script).arg("tree").arg(&tree));
    }
    below(Command::new(&script).arg("in").arg(&tree), || {
        install(&node);
        install(&operator);
        let moto = Moto::start();
        moto.make_bucket("keys");
        let [first, second] = [(); 2].map(|()| Key::new("worker"));
        let config = "source = \"s3://keys/web.json\"\nschedule = \"1s\"\n\
             [report]\nprometheus = \"/run/authkeysd.prom\"\n[[account]]\nuser = \"alice\"\n";
        std::fs::write(root().join("etc/authkeysd/config.toml"), config).unwrap();
        let _sshd = start_sshd();

        // The operators' program publishes, one run brings the key.
        let published = root().join("root/web.json");
        std::fs::write(&published, document(1, &[&first], &[])).unwrap();
        let mut publish = arm64(&moto.endpoint(), "authkeysctl");
        output(publish.args(["publish", "/root/web.json", "s3://keys/web.json"]));
        assert!(!login(&first));
        output(arm64(&moto.endpoint(), "authkeysd").arg("sync"));
        assert!(login(&first) && !login(&second));

        // The service brings what comes later, and goes on.
        let mut service = arm64(&moto.endpoint(), "authkeysd");
        let service = service.arg("run").stderr(Stdio::null()).spawn();
        let mut service = Running(service.unwrap());
        moto.put_object(
            "keys",
            "web.json",
            document(2, &[&second], &[&first]).as_bytes(),
        );
        eventually("the second key in place of the first", || {
            login(&second) && !login(&first)
        });
        for _ in 0..2 * CYCLES {
            if cycles() >= CYCLES {
                break;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        assert!(cycles() >= CYCLES, "{} cycles", cycles());
        assert!(login(&second) && !login(&first));
        assert!(service.0.try_wait().unwrap().is_none(), "it ran to the end");
    });
}
