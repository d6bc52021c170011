//! Agents that keep keys: the stock ssh-agent, and one of our own for the security keys that no
//! test machine has.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use authkeys_testing::signing::{Token, pack, strings};
use authkeys_testing::{Key, eventually};
use tempfile::TempDir;

const FAILURE: u8 = 5;
const LIST: u8 = 11;
const LISTED: u8 = 12;
const SIGN: u8 = 13;
const SIGNED: u8 = 14;

/// The stock ssh-agent with one key; it ends when this is dropped.
pub(crate) struct StockAgent {
    directory: TempDir,
    child: Child,
}

impl Drop for StockAgent {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl StockAgent {
    pub(crate) fn with(key: &Key) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent");
        let child = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let agent = Self { directory, child };
        eventually("ssh-agent listens", || socket.exists());
        let mut add = Command::new("ssh-add");
        add.arg("-q")
            .arg(key.private())
            .env("SSH_AUTH_SOCK", &socket)
            .stdin(Stdio::null());
        assert!(add.status().unwrap().success());
        agent
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("agent")
    }
}

/// An agent with both security keys. What it is asked and answers is the agent protocol's; the
/// touch always comes.
pub(crate) struct TokenAgent {
    directory: TempDir,
    signatures: Arc<AtomicUsize>,
}

impl TokenAgent {
    /// Serves until the test ends. With `willing` false nobody touches the token: it signs nothing.
    pub(crate) fn start(willing: bool) -> Self {
        let agent = Self {
            directory: tempfile::tempdir().unwrap(),
            signatures: Arc::default(),
        };
        let listener = UnixListener::bind(agent.socket()).unwrap();
        let signatures = Arc::clone(&agent.signatures);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // One client at a time is enough; one that goes away ends its turn.
                while let Some(asked) = message(&stream) {
                    let (tokens, asked) = (if willing { &Token::ALL[..] } else { &[] }, &asked[..]);
                    let answer = match asked {
                        [LIST] => list(),
                        [SIGN, request @ ..] => sign(tokens, request, &signatures),
                        _ => vec![FAILURE],
                    };
                    if (&stream).write_all(&pack(&[&answer])).is_err() {
                        break;
                    }
                }
            }
        });
        agent
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("agent")
    }

    /// How often it has signed.
    pub(crate) fn signatures(&self) -> usize {
        self.signatures.load(Ordering::SeqCst)
    }

    /// A file with a token's public half, as `ssh-add -L` prints it.
    pub(crate) fn public(&self, token: Token) -> PathBuf {
        public_file(self.directory.path(), &token.line())
    }
}

/// A public key in a file.
pub(crate) fn public_file(directory: &Path, line: &str) -> PathBuf {
    let file = directory.join(format!("{}.pub", line.split(' ').next().unwrap()));
    std::fs::write(&file, format!("{line}\n")).unwrap();
    file
}

fn message(mut stream: &UnixStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut message).ok().map(|()| message)
}

fn list() -> Vec<u8> {
    let keys = Token::ALL.map(|token| pack(&[&token.blob(), b"token"]));
    [&[LISTED, 0, 0, 0, 2], &keys.concat()[..]].concat()
}

/// A request has the key, the data and four bytes of flags.
fn sign(tokens: &[Token], request: &[u8], signatures: &AtomicUsize) -> Vec<u8> {
    let fields = strings(&request[..request.len() - 4]);
    match tokens.iter().find(|token| token.blob() == fields[0]) {
        Some(token) => {
            signatures.fetch_add(1, Ordering::SeqCst);
            [&[SIGNED], &pack(&[&token.sign(&fields[1])])[..]].concat()
        }
        None => vec![FAILURE],
    }
}
