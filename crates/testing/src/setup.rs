//! A configured `authkeysd` in a temporary directory, run with a clean environment.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::{Key, program, program_for_all};

/// How one run of the program ended.
#[derive(Debug)]
pub struct Run {
    /// The exit status; -1 when a signal ended it.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// Its messages.
    pub stderr: String,
}

impl Run {
    /// Asserts the exit status, and that stderr has exactly these lines, each given by words that
    /// it must contain.
    #[track_caller]
    pub fn fails(&self, status: i32, faults: &[&[&str]]) {
        assert_eq!(self.status, status, "{self:#?}");
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(
            lines.len(),
            faults.len(),
            "one line for each fault: {self:#?}"
        );
        for (line, words) in lines.iter().zip(faults) {
            assert!(
                ["authkeysd: ", "authkeysctl: "]
                    .iter()
                    .any(|name| line.starts_with(name)),
                "{line:?}"
            );
            for word in *words {
                assert!(line.contains(word), "{word:?} is not in {line:?}");
            }
        }
    }

    /// Asserts the exit status 0, nothing on stderr, and the message that somebody else had changed
    /// a file.
    #[track_caller]
    pub fn repairs(&self) {
        self.succeeds();
        assert!(
            ["drift repaired", "\"repairs\": 1", "\"repairs\": 2"]
                .iter()
                .any(|word| self.stdout.contains(word)),
            "{self:#?}"
        );
    }

    /// Asserts the exit status 0 and nothing on stderr.
    #[track_caller]
    pub fn succeeds(&self) {
        assert_eq!((self.status, self.stderr.as_str()), (0, ""), "{self:#?}");
    }
}

/// A command for the built program that gets nothing from the caller's environment: no AWS
/// credentials, regions or endpoints, no metadata service, no colour settings, no state directory
/// of a service.
pub fn clean_command() -> Command {
    clean(program("authkeysd"))
}

/// The same for `authkeysctl`.
pub fn clean_ctl() -> Command {
    clean(program("authkeysctl"))
}

fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("HOME", "/nonexistent")
        .env("LC_ALL", "C.UTF-8")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .stdin(Stdio::null());
    command
}

/// The environment in which this endpoint takes the place of AWS, with made-up credentials.
pub fn stand_in(endpoint: &str) -> [(&'static str, String); 4] {
    [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "not-a-secret"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
}

/// Runs the program with `arguments` in a clean environment.
pub fn authkeysd<const N: usize>(arguments: [&str; N]) -> Run {
    let mut command = clean_command();
    command.args(arguments);
    outcome_of(&mut command)
}

/// Runs `authkeysctl` with `arguments` in a clean environment.
pub fn authkeysctl<const N: usize>(arguments: [&str; N]) -> Run {
    outcome_of(clean_ctl().args(arguments))
}

/// The account that runs the tests.
pub fn me() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid())
        .unwrap()
        .unwrap()
        .name
}

/// An account that exists on every machine and is not `me`.
pub fn somebody_else() -> &'static str {
    if me() == "nobody" { "daemon" } else { "nobody" }
}

/// Runs a command to its end.
pub fn outcome_of(command: &mut Command) -> Run {
    let output = command.output().expect("authkeysd runs");
    Run {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// One `[[account]]` of a `Setup`; `extra` has further lines of its table.
#[derive(Clone, Debug)]
pub struct AccountSetup {
    /// The value of `user`.
    pub user: String,
    /// Further lines of its table.
    pub extra: String,
}

/// A configuration, a key set published in a file, and the state and runtime directories, all below
/// one temporary directory. Changes to the fields apply from the next `run` on.
#[derive(Debug)]
pub struct Setup {
    dir: TempDir,
    /// The source's URL, initially that of the file that `publish` writes; or a list of URLs in
    /// TOML.
    pub source: String,
    /// Further top-level lines of the configuration.
    pub top: String,
    /// The accounts, in order.
    pub accounts: Vec<AccountSetup>,
    /// Further tables, after the accounts.
    pub tables: String,
    /// Variables to add to the clean environment of the program.
    pub environment: Vec<(String, String)>,
}

impl Setup {
    /// With one account; nothing is published yet.
    pub fn for_user(user: &str) -> Self {
        Self::new().account(user, "")
    }

    /// With the lab's two accounts; these keys are published for both.
    pub fn for_alice_and_bob(keys: &[&Key]) -> Self {
        let setup = Self::for_user("alice").account("bob", "");
        setup.publish_keys(keys);
        setup
    }

    /// Without an account.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("authkeysd-test-")
            .tempdir()
            .unwrap();
        // authkeysd-fetch runs as another user, and reads AWS's files here.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let source = format!("file:{}", dir.path().join("published").display());
        Self {
            dir,
            source,
            top: String::new(),
            accounts: Vec::new(),
            tables: String::new(),
            environment: Vec::new(),
        }
    }

    /// Adds an account; `extra` has further lines of its table, such as `mode = "exclusive"`.
    pub fn account(mut self, user: &str, extra: &str) -> Self {
        self.accounts.push(AccountSetup {
            user: user.to_owned(),
            extra: extra.to_owned(),
        });
        self
    }

    /// With an account whose file is below the temporary directory, so that any user can run it.
    pub fn with_file() -> Self {
        let setup = Self::new();
        let file = format!("file = \"{}/%u\"", setup.path("keys").display());
        setup.account(&me(), &file)
    }

    /// The file of that account.
    pub fn file(&self) -> PathBuf {
        self.path("keys").join(me())
    }

    /// Adds further tables, such as `[policy]`.
    pub fn tables(mut self, text: &str) -> Self {
        self.tables.push_str(text);
        self
    }

    /// A path below the temporary directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The directory for the state.
    pub fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    /// The runtime directory, which contains the status file.
    pub fn runtime_dir(&self) -> PathBuf {
        self.path("run")
    }

    /// The configuration's path.
    pub fn config(&self) -> PathBuf {
        self.path("config.toml")
    }

    /// Publishes `document` in the file that is the initial source.
    pub fn publish(&self, document: impl AsRef<[u8]>) {
        // A new file each time, as a publisher would do it: a reader must never see a half-written
        // one.
        let new = self.path("published.new");
        std::fs::write(&new, document).unwrap();
        std::fs::rename(new, self.path("published")).unwrap();
    }

    /// Publishes these keys as authorized_keys text.
    pub fn publish_keys(&self, keys: &[&Key]) {
        self.publish(
            keys.iter()
                .map(|key| format!("{}\n", key.line))
                .collect::<String>(),
        );
    }

    /// Makes the program use this endpoint as S3, with made-up credentials.
    pub fn use_s3_at(&mut self, endpoint: &str) {
        self.environment = stand_in(endpoint)
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec();
    }

    /// Runs `authkeysd --config ... ARGUMENTS`.
    pub fn run<const N: usize>(&self, arguments: [&str; N]) -> Run {
        let mut command = self.command();
        command.args(arguments);
        outcome_of(&mut command)
    }

    /// The program with its configuration written and named, for callers that add arguments, limits
    /// or a tracer.
    pub fn command(&self) -> Command {
        self.command_of(program("authkeysd"))
    }

    /// The same, with the copy that other accounts of the lab can run.
    pub fn command_for_all(&self) -> Command {
        self.command_of(program_for_all())
    }

    /// The same, with another copy of the program.
    pub fn command_of(&self, program: impl AsRef<OsStr>) -> Command {
        self.write_config();
        let mut command = clean(program);
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .arg("--config")
            .arg(self.config());
        command
    }

    /// Writes the configuration; `run` does that by itself.
    pub fn write_config(&self) {
        // A list is written as it is.
        let source = match self.source.starts_with('[') {
            true => self.source.clone(),
            false => quoted(Path::new(&self.source)),
        };
        let mut text = format!("source = {source}\n");
        text.push_str(&format!("state_dir = {}\n", quoted(&self.state_dir())));
        text.push_str(&format!(
            "runtime_dir = {}\n{}\n",
            quoted(&self.runtime_dir()),
            self.top
        ));
        for account in &self.accounts {
            text.push_str(&format!(
                "\n[[account]]\nuser = {}\n{}\n",
                quoted(Path::new(&account.user)),
                account.extra
            ));
        }
        text.push_str(&self.tables);
        for dir in [self.state_dir(), self.runtime_dir()] {
            std::fs::create_dir_all(dir).unwrap();
        }
        // Replaced atomically: a service that is starting may read it.
        let new = tempfile::NamedTempFile::new_in(self.dir.path()).unwrap();
        std::fs::write(new.path(), text).unwrap();
        std::fs::set_permissions(new.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        new.persist(self.config()).unwrap();
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

/// A TOML basic string.
fn quoted(value: &Path) -> String {
    format!(
        "\"{}\"",
        value
            .display()
            .to_string()
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
    )
}
