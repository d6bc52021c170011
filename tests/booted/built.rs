//! The packages that were built before the tests (`make deb`, `make rpm`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use authkeys_testing::{Key, Machine};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Deb,
    Rpm,
}

/// authkeysd's and authkeysctl's package, for this machine. `None`, with a loud word, where they
/// were not built from what lies here now; in CI that is a failure.
pub(crate) fn built(kind: Kind) -> Option<[PathBuf; 2]> {
    built_for(kind, std::env::consts::ARCH)
}

/// The same for a machine of that kind, `x86_64` or `aarch64`.
pub(crate) fn built_for(kind: Kind, arch: &str) -> Option<[PathBuf; 2]> {
    let arm = arch == "aarch64";
    let file = |name: &str| match kind {
        Kind::Deb => format!(
            "{name}_{VERSION}-1_{}.deb",
            if arm { "arm64" } else { "amd64" }
        ),
        Kind::Rpm => format!(
            "{name}-{VERSION}-1.{}.rpm",
            if arm { "aarch64" } else { "x86_64" }
        ),
    };
    let packages = ["authkeysd", "authkeysctl"]
        .map(|name| Path::new(ROOT).join("target/packages").join(file(name)));
    let make = if kind == Kind::Deb {
        "make deb"
    } else {
        "make rpm"
    };
    let command = if arch == std::env::consts::ARCH {
        make.to_owned()
    } else {
        format!("{make} TARGET={arch}-unknown-linux-gnu")
    };
    let of = |path: &Path| {
        path.metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
    };
    let sources = ["src", "systemd", "deb", "rpm", "Cargo.toml", "Cargo.lock"]
        .map(|name| newest(&Path::new(ROOT).join(name)));
    let newest = sources.into_iter().flatten().max();
    match packages
        .each_ref()
        .map(|package| of(package))
        .into_iter()
        .min()
        .flatten()
    {
        None => authkeys_testing::skipped(&format!(
            "there is no {}: run {command}",
            packages[0].display()
        )),
        Some(built) if Some(built) < newest => authkeys_testing::skipped(&format!(
            "the packages are older than the sources: run {command}"
        )),
        Some(_) => return Some(packages),
    }
    None
}

/// When the newest file below a path was changed.
fn newest(path: &Path) -> Option<SystemTime> {
    if path.is_dir() {
        return std::fs::read_dir(path)
            .ok()?
            .flatten()
            .filter_map(|entry| newest(&entry.path()))
            .max();
    }
    path.metadata().ok()?.modified().ok()
}

/// What a command printed, which must end well.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
/// Copies a file into a booted machine.
pub(crate) fn put(machine: &Machine, file: &Path, inside: &str) {
    std::fs::copy(file, machine.path(inside)).unwrap();
}

/// A document with these keys for every account.
pub(crate) fn document(serial: u32, keys: &[&Key], revoked: &[&Key]) -> String {
    let list = |items: Vec<String>| items.join(", ");
    let keys = list(
        keys.iter()
            .map(|key| format!("{{\"public_key\": \"{}\"}}", key.line))
            .collect(),
    );
    let revoked = list(
        revoked
            .iter()
            .map(|key| format!("\"{}\"", key.fingerprint()))
            .collect(),
    );
    format!(
        "{{\"version\": 1, \"name\": \"workers\", \"serial\": {serial}, \"keys\": [{keys}], \"revoked\": [{revoked}]}}\n"
    )
}

/// authkeysd's rpm under an older version, made of the same programs, with this file of variables.
pub(crate) fn older_rpm(into: &Path, variables: &str) -> PathBuf {
    let environment = into.join("environment");
    std::fs::write(&environment, variables).unwrap();
    let arch = std::env::consts::ARCH;
    let mut command = Command::new("rpmbuild");
    command.args(["-bb", "--quiet", "--target", arch]);
    let defined = [
        format!("_topdir {}", into.display()),
        format!("_rpmdir {}", into.display()),
        "_build_name_fmt %%{NAME}.rpm".to_owned(),
        "number 0.0.9".to_owned(),
        format!("top {ROOT}"),
        format!("programs target/{arch}-unknown-linux-gnu/release"),
        format!("environment {}", environment.display()),
    ];
    for definition in defined {
        command.arg("--define").arg(definition);
    }
    output(command.arg(Path::new(ROOT).join("rpm/authkeysd.spec")));
    into.join("authkeysd.rpm")
}
