//! Test logins: only the authentication of SSH, without a channel, a command or a shell. The host's
//! key does not matter: a signature is bound to its session.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, AuthResult, Handle};
use russh::keys::ssh_key::HashAlg;
use russh::keys::{Algorithm, PublicKey};
use russh::{CryptoVec, Disconnect, SendError};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::proof::Proof;

/// How many logins run at the same time.
const AT_ONCE: usize = 32;
/// How long one login may take, including the connection.
const LIMIT: Duration = Duration::from_secs(15);

/// The result of a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "answer", content = "detail")]
pub(super) enum LoginResult {
    /// sshd accepted the key.
    Accepted,
    /// sshd refused the key.
    Refused,
    /// The address and port could not be reached.
    Unreachable(String),
    /// No answer in time.
    TimedOut,
    /// sshd closed the connection before an answer, as it does when too many log in at once.
    Closed(String),
}

impl fmt::Display for LoginResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Refused => f.write_str("refused"),
            Self::Unreachable(why) => write!(f, "unreachable ({why})"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Closed(why) => write!(f, "connection closed by sshd ({why})"),
        }
    }
}

/// Where to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Door {
    /// The node's id.
    pub(super) node: String,
    /// Its address or DNS name.
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) user: String,
}

/// The key that a login presents.
#[derive(Debug, Clone)]
pub(super) struct LoginKey {
    /// The public key's line.
    pub(super) public: String,
    /// The private key. Without it sshd is only asked whether it would accept the key, which is
    /// enough for a key that must be refused.
    pub(super) proof: Option<Arc<Proof>>,
}

/// Logs in at each door.
pub(super) async fn log_in(doors: Vec<Door>, credential: &LoginKey) -> Vec<(Door, LoginResult)> {
    let mut answers = Vec::with_capacity(doors.len());
    let mut doors = doors.into_iter();
    let mut at_work = JoinSet::new();
    loop {
        while at_work.len() < AT_ONCE
            && let Some(door) = doors.next()
        {
            let credential = credential.clone();
            at_work.spawn(async move {
                let answer = timeout(LIMIT, one(&door, &credential)).await;
                (door, answer.unwrap_or(LoginResult::TimedOut))
            });
        }
        match at_work.join_next().await {
            None => return answers,
            Some(Ok(answer)) => answers.push(answer),
            // A task that ended early gives no answer; the caller notices that one is missing.
            Some(Err(_)) => {}
        }
    }
}

async fn one(door: &Door, credential: &LoginKey) -> LoginResult {
    let stream = match TcpStream::connect((door.address.as_str(), door.port)).await {
        Ok(stream) => stream,
        Err(fault) if fault.kind() == std::io::ErrorKind::TimedOut => return LoginResult::TimedOut,
        // In plain words if possible, without the system's error number.
        Err(fault) => {
            let said = match fault.raw_os_error() {
                Some(_) => fault.kind().to_string(),
                None => fault.to_string(),
            };
            return LoginResult::Unreachable(said);
        }
    };
    let Ok(public) = PublicKey::from_openssh(&credential.public) else {
        return LoginResult::Closed("the public key cannot be sent".to_owned());
    };
    let mut config = client::Config::default();
    // Without the `rsa` crate, the signature of a host's RSA key cannot be checked.
    config
        .preferred
        .key
        .to_mut()
        .retain(|key| !matches!(key, Algorithm::Rsa { .. }));
    let mut session = match client::connect_stream(Arc::new(config), stream, AnyHost).await {
        Ok(session) => session,
        Err(fault) => return LoginResult::Closed(fault.to_string()),
    };
    let hash = public.algorithm().is_rsa().then_some(HashAlg::Sha512);
    let mut hand = LoginHandler(credential.proof.clone());
    let result = session
        .authenticate_publickey_with(door.user.as_str(), public, hash, &mut hand)
        .await;
    let answer = match result {
        Ok(AuthResult::Success) | Err(NotSigned::WouldDo) => LoginResult::Accepted,
        // sshd asks for another factor, so this one was accepted.
        Ok(AuthResult::Failure {
            partial_success: true,
            ..
        }) => LoginResult::Accepted,
        Ok(AuthResult::Failure {
            remaining_methods, ..
        }) if remaining_methods.is_empty() => {
            LoginResult::Closed("during the authentication".to_owned())
        }
        Ok(AuthResult::Failure { .. }) => LoginResult::Refused,
        Err(NotSigned::Closed) => LoginResult::Closed("during the authentication".to_owned()),
        Err(NotSigned::Failed) => LoginResult::Closed("the private key does not sign".to_owned()),
    };
    say_goodbye(&session).await;
    answer
}

async fn say_goodbye(session: &Handle<AnyHost>) {
    let _ = session
        .disconnect(Disconnect::ByApplication, "tested", "en")
        .await;
}

/// Accepts any host key.
struct AnyHost;

impl client::Handler for AnyHost {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _key: &PublicKey) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// Signs what sshd asks for after sshd has said that it would accept the key.
struct LoginHandler(Option<Arc<Proof>>);

/// Why nothing was signed.
enum NotSigned {
    /// The key would be accepted; nothing more had to be known.
    WouldDo,
    Failed,
    Closed,
}

impl From<SendError> for NotSigned {
    fn from(_: SendError) -> Self {
        Self::Closed
    }
}

impl russh::Signer for LoginHandler {
    type Error = NotSigned;

    async fn auth_publickey_sign(
        &mut self,
        _key: &PublicKey,
        _hash: Option<HashAlg>,
        mut message: CryptoVec,
    ) -> Result<CryptoVec, NotSigned> {
        let Some(proof) = &self.0 else {
            return Err(NotSigned::WouldDo);
        };
        let (algorithm, signature) = proof.sign(&message).ok_or(NotSigned::Failed)?;
        let mut blob = Vec::with_capacity(algorithm.len() + signature.len() + 8);
        push_string(&mut blob, algorithm.as_bytes()).ok_or(NotSigned::Failed)?;
        push_string(&mut blob, &signature).ok_or(NotSigned::Failed)?;
        let mut signed = Vec::with_capacity(blob.len() + 4);
        push_string(&mut signed, &blob).ok_or(NotSigned::Failed)?;
        message.extend(&signed);
        Ok(message)
    }
}

fn push_string(buffer: &mut Vec<u8>, string: &[u8]) -> Option<()> {
    let length = u32::try_from(string.len()).ok()?;
    buffer.extend(length.to_be_bytes());
    buffer.extend(string);
    Some(())
}
