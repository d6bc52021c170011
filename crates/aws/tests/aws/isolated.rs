//! Runs a test's body in a process of its own whose environment is known: no credentials, profile,
//! endpoint or proxy of the machine, and no metadata service. To set variables within a process is
//! unsafe, so the test binary runs itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use authkeys_testing::{alone, test_name};

const HOME: &str = "AUTHKEYSD_TEST_HOME";
const SAFE: [(&str, &str); 6] = [
    ("AWS_EC2_METADATA_DISABLED", "true"),
    // Should the variable above ever be ignored: nothing listens there.
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9"),
    ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "not-a-secret"),
    ("AWS_REGION", "eu-central-1"),
];

/// Runs the calling test, whose closure `body` is, in a child process; it is given a directory of
/// its own. `changes` set variables, or with an empty value remove them.
pub(crate) fn isolated(changes: &[(&str, &str)], body: impl FnOnce(&Path)) {
    isolated_as(test_name(&body), changes, body);
}

/// The same for helpers that have a closure of the test's within their own; `test` is its
/// `test_name`.
pub(crate) fn isolated_as(test: &str, changes: &[(&str, &str)], body: impl FnOnce(&Path)) {
    if let Some(home) = std::env::var_os(HOME) {
        return body(&PathBuf::from(home));
    }
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("config");
    std::fs::File::create(&config).unwrap();
    let kept = ["PATH", "LD_LIBRARY_PATH", "CI", "PROPTEST_CASES"]
        .into_iter()
        .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(alone(test)).env_clear().envs(kept).envs(SAFE);
    child
        .env("AWS_CONFIG_FILE", &config)
        .env("HOME", home.path())
        .env(HOME, home.path());
    for (name, value) in changes {
        match *value {
            "" => child.env_remove(name),
            value => child.env(name, value),
        };
    }
    let output = child.output().unwrap();
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    print!("{stdout}");
    eprint!("{stderr}");
    // A name that matches no test would pass without having run anything.
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{test} failed in its own process, see above"
    );
}

/// Gives the AWS profile of the test's process lines such as `endpoint_url = …`; before the first
/// fetch.
pub(crate) fn set_profile(home: &Path, lines: &str) {
    use std::io::Write;
    let mut config = std::fs::File::create(home.join("config")).unwrap();
    write!(config, "[default]\n{lines}\n").unwrap();
}
