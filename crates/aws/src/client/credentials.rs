//! Names the program or the container's endpoint that fails to provide credentials. The SDK's errors
//! name neither.

use std::error::Error;
use std::time::Duration;

use aws_config::profile::Profile;
use aws_credential_types::provider::error::CredentialsError;
use thiserror::Error as ThisError;

use super::words::{chain, host, lines, words};
use authkeys_core::origin::failure::Class;
use authkeys_core::words::{cut, plain};

/// Slightly shorter than the SDK's own limit, whose error does not say what it waited for.
pub(super) const LIMIT: Duration = Duration::from_millis(4_800);
/// The most characters of a program's or a profile's name that are shown.
const MAX_NAME: usize = 120;
/// The settings that give a profile credentials other than those of the environment.
const OF_PROFILES: [&str; 7] = [
    "role_arn",
    "web_identity_token_file",
    "sso_session",
    "sso_start_url",
    "login_session",
    "credential_process",
    "aws_access_key_id",
];
const CONTAINER: [&str; 2] = [
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

/// The provider of credentials, as far as a failure has to name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CredentialOrigin {
    /// A program.
    Process(Process),
    /// The endpoint of a container.
    Container(Container),
    /// Any other provider.
    Other,
}

/// A program that a profile names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    /// The profile.
    profile: String,
    /// The program, without its arguments, which may be secret.
    program: String,
    /// Whether its output is used to assume a role.
    has_role: bool,
}

/// An endpoint that a variable names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    variable: &'static str,
    /// Its host. The path is never shown: anyone who knows it can get the credentials.
    host: String,
    /// Whether it is the only provider of credentials.
    is_alone: bool,
}

/// Why credentials could not be obtained.
#[derive(Debug, ThisError)]
pub(super) enum Unobtainable {
    /// The program failed.
    #[error(
        "credential_process of the profile `{}` ({}) {said}",
        .process.profile,
        .process.program
    )]
    Process {
        /// Which one.
        process: Process,
        /// What it did, as part of one line.
        said: String,
        /// The SDK's error.
        source: CredentialsError,
    },
    /// The container's endpoint failed.
    #[error("the endpoint of {} ({}) {said}", .container.variable, .container.host)]
    Container {
        /// Which one.
        container: Container,
        /// What it did, as part of one line.
        said: String,
        /// The class of the failure.
        class: Class,
        /// The SDK's error.
        source: CredentialsError,
    },
}

impl Unobtainable {
    /// The class of the failure.
    pub(super) fn class(&self) -> Class {
        match self {
            // The program may depend on a service that is unavailable.
            Self::Process { .. } => Class::Transient,
            Self::Container { class, .. } => *class,
        }
    }

    /// What to do.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Process { .. } => {
                "run that command as the same user: it must end with 0 within 4 s and print the \
                 JSON of credentials; correct it, or `credential_process` in the profile"
            }
            Self::Container {
                class: Class::Invalid,
                ..
            } => {
                "correct the variables AWS_CONTAINER_CREDENTIALS_* and \
                 AWS_CONTAINER_AUTHORIZATION_TOKEN*, which EKS and ECS set by themselves, or unset \
                 them"
            }
            Self::Container { .. } => {
                "EKS: does the Pod Identity agent run on the node, has the service account a pod \
                 identity association, and is the token's file readable? ECS: has the task a task \
                 role? outside of both unset AWS_CONTAINER_CREDENTIALS_*"
            }
        }
    }
}

impl CredentialOrigin {
    /// The origin according to a profile, the profiles that it takes credentials from, and the
    /// environment.
    pub(super) fn of(profiles: &[&Profile]) -> Self {
        for profile in profiles {
            if let Some(command) = profile.get("credential_process") {
                return Self::Process(Process {
                    profile: shown(profile.name()),
                    program: shown(program(command)),
                    has_role: have(profiles, "role_arn"),
                });
            }
        }
        // If both are set, the relative URI is used.
        for variable in CONTAINER {
            let uri = std::env::var(variable).unwrap_or_default();
            if uri.is_empty() {
                continue;
            }
            let host = if variable == CONTAINER[0] {
                "169.254.170.2"
            } else {
                host(&uri)
            };
            let is_alone = !OF_PROFILES.iter().any(|key| have(profiles, key))
                && std::env::var_os("AWS_WEB_IDENTITY_TOKEN_FILE").is_none();
            return Self::Container(Container {
                variable,
                host: shown(host),
                is_alone,
            });
        }
        Self::Other
    }

    /// Adds the name of the provider to the SDK's error, if the error is about that provider.
    pub(super) fn explained(&self, error: CredentialsError) -> CredentialsError {
        let text = lines(&error);
        let timed_out = matches!(error, CredentialsError::ProviderTimedOut(_));
        let late = format!("did not end within {} s", LIMIT.as_secs());
        match self {
            Self::Process(process) => {
                let said = match outcome(&text) {
                    None if timed_out && !process.has_role => late,
                    None => return error,
                    Some(said) => said,
                };
                CredentialsError::provider_error(Unobtainable::Process {
                    process: process.clone(),
                    said,
                    source: error,
                })
            }
            Self::Container(container) => {
                let is_its = [
                    "HTTP credential provider",
                    "failed to load credentials [",
                    "ECS provider",
                    "auth token",
                ];
                let is_its = is_its.iter().any(|part| text.contains(part));
                let nothing = matches!(error, CredentialsError::CredentialsNotLoaded(_));
                if !is_its && (nothing || !container.is_alone) {
                    return error;
                }
                let (class, said) = match status(&text) {
                    Some(status @ 400..=499) if !matches!(status, 408 | 429) => {
                        (Class::Denied, format!("answered {status}"))
                    }
                    Some(status) => (Class::Transient, format!("answered {status}")),
                    None if timed_out => (Class::Transient, late),
                    None if matches!(error, CredentialsError::InvalidConfiguration(_)) => (
                        Class::Invalid,
                        format!("cannot be asked: {}", cause(&error)),
                    ),
                    None => (
                        Class::Transient,
                        format!("gave no credentials: {}", cause(&error)),
                    ),
                };
                let container = container.clone();
                CredentialsError::provider_error(Unobtainable::Container {
                    container,
                    said,
                    class,
                    source: error,
                })
            }
            Self::Other => error,
        }
    }
}

/// Whether one of the profiles has this setting.
fn have(profiles: &[&Profile], key: &str) -> bool {
    profiles.iter().any(|profile| profile.get(key).is_some())
}

/// The first word of a command, without its quotes.
fn program(command: &str) -> &str {
    let command = command.trim_start();
    for quote in ['"', '\''] {
        if let Some(rest) = command.strip_prefix(quote) {
            return rest.split(quote).next().unwrap_or_default();
        }
    }
    command.split_whitespace().next().unwrap_or_default()
}

fn shown(name: &str) -> String {
    plain(&cut(name, MAX_NAME), '?')
}

/// What a program did, according to the SDK's message; `None` if that is about something else.
fn outcome(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("Error retrieving credentials")?;
    if let Some((_, rest)) = rest.split_once("exited with code ") {
        let (status, said) = rest.split_once(". Stderr: ").unwrap_or((rest, ""));
        return Some(match words(said).as_str() {
            "" => format!("ended with {} and said nothing", words(status)),
            said => format!("ended with {} and said: {said}", words(status)),
        });
    }
    let what = rest
        .trim_start_matches(" from external process")
        .trim_start_matches([',', ':', ' ']);
    Some(format!("gave no credentials: {}", words(what)))
}

/// The status of an answer, according to the SDK's message.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("HTTP credential provider: ")?;
    let digits = rest.trim_start_matches("StatusCode(");
    digits.get(..3)?.parse().ok()
}

/// The causes, without the outermost one, which only says that credentials could not be loaded.
fn cause(error: &CredentialsError) -> String {
    chain(error.source().unwrap_or(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_by_its_program_alone() {
        for (command, name) in [
            ("/usr/bin/helper --token secret", "/usr/bin/helper"),
            (
                "  \"/opt/my tools/helper\" --token secret",
                "/opt/my tools/helper",
            ),
            ("'/opt/my tools/helper' x", "/opt/my tools/helper"),
            ("", ""),
        ] {
            assert_eq!(program(command), name);
        }
    }

    #[test]
    fn what_a_program_says_is_bounded_and_fit_for_one_line() {
        let said = format!(
            "Error retrieving credentials: external process exited with code exit status: 3. Stderr: a\n\u{1b}[2J{}",
            "x".repeat(999)
        );
        let message = outcome(&said).unwrap();
        assert!(
            message.starts_with("ended with exit status: 3 and said: a [2J"),
            "{message}"
        );
        assert!(
            message.len() < 300 && !message.contains(char::is_control),
            "{message}"
        );
        assert_eq!(outcome("service error"), None);
        assert_eq!(
            status("Non-success status from HTTP credential provider: StatusCode(403)"),
            Some(403)
        );
    }
}
