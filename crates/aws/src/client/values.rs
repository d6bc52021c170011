//! Checks values from the environment, the profile and the metadata service before the SDK sees
//! them: the SDK uses them unchecked, and some would crash the process (a line feed in a region, a
//! token that lives for 2^64 seconds).

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use aws_config::profile::{Profile, ProfileSet};
use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_types::os_shim_internal::{Env, Fs};
use thiserror::Error;

use super::credentials::CredentialOrigin;
use super::words::host;
use authkeys_core::origin::arn::is_region;
use authkeys_core::origin::failure::Class;

/// The longest lifetime of a token that the metadata service grants, in seconds.
const MAX_TTL: u64 = 21_600;
/// The most characters in a role's name.
const MAX_ROLE: usize = 64;
/// More profiles than a chain of `source_profile` can have: a profile may name itself.
const MAX_CHAIN: usize = 8;

/// A value that the SDK must not see. It is never shown: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place} {fault}")]
pub struct BadValue {
    place: ValueOrigin,
    fault: &'static str,
}

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ValueOrigin {
    Variable(&'static str),
    Profile {
        key: &'static str,
        profile: String,
    },
    /// A file in the home directory.
    Home(&'static str),
    Metadata(&'static str),
    Credentials(&'static str),
}

/// The permitted form of a value.
#[derive(Debug, Clone, Copy)]
enum ValueForm {
    /// Printable ASCII.
    Line,
    /// Printable ASCII without spaces.
    Word,
    /// An http or https URL with a host.
    Url,
    /// The same; an empty one would crash the process.
    Endpoint,
}

/// The settings that the SDK puts into requests: the variable, the profile's key, and the permitted
/// form. Most empty values count as absent.
const SETTINGS: [(&str, &str, ValueForm); 28] = [
    ("AWS_ACCESS_KEY_ID", "aws_access_key_id", ValueForm::Word),
    (
        "AWS_SECRET_ACCESS_KEY",
        "aws_secret_access_key",
        ValueForm::Word,
    ),
    ("SECRET_ACCESS_KEY", "", ValueForm::Word),
    ("AWS_SESSION_TOKEN", "aws_session_token", ValueForm::Word),
    ("AWS_ROLE_ARN", "role_arn", ValueForm::Word),
    (
        "AWS_ROLE_SESSION_NAME",
        "role_session_name",
        ValueForm::Word,
    ),
    ("", "external_id", ValueForm::Word),
    ("AWS_ENDPOINT_URL", "endpoint_url", ValueForm::Endpoint),
    ("AWS_ENDPOINT_URL_S3", "", ValueForm::Url),
    ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "", ValueForm::Url),
    ("AWS_ENDPOINT_URL_SSM", "", ValueForm::Url),
    ("AWS_ENDPOINT_URL_EC2", "", ValueForm::Url),
    ("AWS_ENDPOINT_URL_STS", "", ValueForm::Url),
    ("AWS_ENDPOINT_URL_SSO", "", ValueForm::Url),
    (
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "ec2_metadata_service_endpoint",
        ValueForm::Url,
    ),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "", ValueForm::Url),
    (
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "",
        ValueForm::Word,
    ),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "", ValueForm::Line),
    ("", "sso_region", ValueForm::Word),
    ("", "sso_start_url", ValueForm::Url),
    ("AWS_SDK_UA_APP_ID", "sdk_ua_app_id", ValueForm::Line),
    ("AWS_EXECUTION_ENV", "", ValueForm::Line),
    ("HTTPS_PROXY", "", ValueForm::Line),
    ("https_proxy", "", ValueForm::Line),
    ("ALL_PROXY", "", ValueForm::Line),
    ("all_proxy", "", ValueForm::Line),
    ("NO_PROXY", "", ValueForm::Line),
    ("no_proxy", "", ValueForm::Line),
];

/// Files that the SDK reads to their end, whatever their size: the variable that names one, and the
/// default path.
const FILES: [(&str, &str); 4] = [
    ("AWS_CONFIG_FILE", ".aws/config"),
    ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", ""),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", ""),
];
/// The size limit of such a file, in bytes.
const MAX_FILE: u64 = 1 << 20;

impl BadValue {
    /// The class of the failure.
    pub(super) fn class(&self) -> Class {
        match &self.place {
            ValueOrigin::Variable(_) | ValueOrigin::Profile { .. } | ValueOrigin::Home(_) => {
                Class::Invalid
            }
            // A different service may answer there next time.
            ValueOrigin::Metadata(_) | ValueOrigin::Credentials(_) => Class::Transient,
        }
    }

    /// What to do.
    pub(super) fn remedy(&self) -> String {
        match &self.place {
            ValueOrigin::Variable(name) => format!("correct {name} in the environment"),
            ValueOrigin::Profile { key, .. } => {
                format!("correct `{key}` in the AWS configuration or credentials file")
            }
            ValueOrigin::Home(file) => format!("correct ~/{file}"),
            ValueOrigin::Metadata(_) => {
                "find out what answers at the metadata service's address".to_owned()
            }
            ValueOrigin::Credentials(_) => {
                "find out what provides them: a profile, a container, the metadata service"
                    .to_owned()
            }
        }
    }

    fn metadata(what: &'static str, fault: &'static str) -> Self {
        Self {
            place: ValueOrigin::Metadata(what),
            fault,
        }
    }
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            Self::Profile { key, profile } => write!(f, "`{key}` of the profile `{profile}`"),
            Self::Home(file) => write!(f, "~/{file}"),
            Self::Metadata(what) => {
                write!(f, "the {what} that the metadata service reports")
            }
            Self::Credentials(what) => write!(f, "the {what} of the credentials"),
        }
    }
}

/// Checks the settings in the environment, the selected profile, and the profiles that it takes
/// credentials from; returns the origin of the credentials.
pub(super) async fn check_settings() -> Result<CredentialOrigin, BadValue> {
    for (name, _, kind) in SETTINGS {
        if !name.is_empty() {
            check_variable(name, kind)?;
        }
    }
    for (name, default) in FILES {
        check_file(name, default)?;
    }
    // A file that cannot be read or parsed is reported by the SDK.
    let profiles =
        aws_config::profile::load(&Fs::real(), &Env::real(), &Default::default(), None).await;
    let Ok(profiles) = profiles else {
        return Ok(CredentialOrigin::of(&[]));
    };
    let chain = profile_chain(&profiles);
    for profile in &chain {
        check_profile(profile)?;
        check_token_file(profile)?;
    }
    Ok(CredentialOrigin::of(&chain))
}

fn check_variable(name: &'static str, kind: ValueForm) -> Result<(), BadValue> {
    let Some(value) = std::env::var_os(name) else {
        return Ok(());
    };
    let fault = match value.to_str() {
        Some(value) => fault(value, kind),
        None => Some("is not UTF-8"),
    };
    match fault {
        None => Ok(()),
        Some(fault) => Err(BadValue {
            place: ValueOrigin::Variable(name),
            fault,
        }),
    }
}

fn check_file(name: &'static str, default: &'static str) -> Result<(), BadValue> {
    let place;
    let path = match std::env::var_os(name) {
        Some(path) if !path.is_empty() => {
            place = ValueOrigin::Variable(name);
            below_home(PathBuf::from(path))
        }
        _ if default.is_empty() => return Ok(()),
        _ => {
            place = ValueOrigin::Home(default);
            below_home(Path::new("~").join(default))
        }
    };
    let Some(path) = path else {
        return Ok(());
    };
    match file_fault(&path) {
        None => Ok(()),
        Some(fault) => Err(BadValue { place, fault }),
    }
}

/// The variable that names a file of profiles or credentials which cannot be read, and why.
pub(super) fn unreadable_profiles() -> Option<(&'static str, io::Error)> {
    for name in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
        let Some(path) = std::env::var_os(name).filter(|path| !path.is_empty()) else {
            continue;
        };
        let Some(path) = below_home(PathBuf::from(path)) else {
            continue;
        };
        // Only a plain file is opened: anything else could block.
        let fault = match std::fs::metadata(&path) {
            Ok(found) if found.is_file() => File::open(&path).err(),
            Ok(_) => None,
            Err(fault) => Some(fault),
        };
        if let Some(fault) = fault {
            return Some((name, fault));
        }
    }
    None
}

/// The SDK replaces a leading `~` with the home directory.
fn below_home(path: PathBuf) -> Option<PathBuf> {
    match path.strip_prefix("~") {
        Ok(rest) => Some(PathBuf::from(std::env::var_os("HOME")?).join(rest)),
        Err(_) => Some(path),
    }
}

/// What is wrong with a file. A missing file or a directory is reported by the SDK; /dev/null is a
/// common way to say that there is no file.
fn file_fault(path: &Path) -> Option<&'static str> {
    let found = std::fs::metadata(path).ok()?;
    if found.is_file() {
        let too_large = found.len() > MAX_FILE;
        return too_large.then_some("is a file of more than 1 MiB");
    }
    if found.is_dir() {
        return None;
    }
    match path.canonicalize() {
        Ok(path) if path == Path::new("/dev/null") => None,
        _ => Some("is a FIFO, a socket or a device instead of a file"),
    }
}

/// The selected profile, and the profiles that it takes credentials from.
fn profile_chain(profiles: &ProfileSet) -> Vec<&Profile> {
    let mut next = profiles.get_profile(profiles.selected_profile());
    let mut chain = Vec::new();
    while let Some(profile) = next {
        if chain.len() == MAX_CHAIN {
            break;
        }
        chain.push(profile);
        next = match profile.get("source_profile") {
            Some(name) => profiles.get_profile(name),
            None => None,
        };
    }
    chain
}

fn check_profile(profile: &Profile) -> Result<(), BadValue> {
    for (_, key, kind) in SETTINGS {
        let Some(value) = profile.get(key) else {
            continue;
        };
        if let Some(fault) = fault(value, kind) {
            let profile = authkeys_core::words::plain(profile.name(), '?');
            return Err(BadValue {
                place: ValueOrigin::Profile { key, profile },
                fault,
            });
        }
    }
    Ok(())
}

fn check_token_file(profile: &Profile) -> Result<(), BadValue> {
    let key = "web_identity_token_file";
    let Some(path) = profile.get(key) else {
        return Ok(());
    };
    let Some(path) = below_home(PathBuf::from(path)) else {
        return Ok(());
    };
    let Some(fault) = file_fault(&path) else {
        return Ok(());
    };
    let profile = authkeys_core::words::plain(profile.name(), '?');
    Err(BadValue {
        place: ValueOrigin::Profile { key, profile },
        fault,
    })
}

/// Checks the region that applies when the URL names none.
pub(super) fn check_region(config: &SdkConfig) -> Result<(), BadValue> {
    let Some(region) = config.region().map(Region::as_ref) else {
        return Ok(());
    };
    if is_region(region) {
        return Ok(());
    }
    let set = ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .into_iter()
        .find(|name| std::env::var_os(name).is_some());
    let place = match (set, super::setting(config, "", "", "region")) {
        (Some(name), _) => ValueOrigin::Variable(name),
        (None, Some(_)) => {
            let profile = std::env::var("AWS_PROFILE").unwrap_or_else(|_| "default".to_owned());
            ValueOrigin::Profile {
                key: "region",
                profile: authkeys_core::words::plain(&profile, '?'),
            }
        }
        (None, None) => ValueOrigin::Metadata("region"),
    };
    let fault = fault(region, ValueForm::Word).unwrap_or("is not the name of a region");
    Err(BadValue { place, fault })
}

/// The answers of the metadata service that the SDK puts into its next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetadataAnswers {
    Token,
    Role,
    /// Text that anybody may have written; only its hash is used.
    Tag,
}

impl MetadataAnswers {
    /// Checks such an answer; `ttl` is the token's lifetime as the header reports it.
    pub(super) fn check(self, ttl: Option<&str>, body: &[u8]) -> Result<(), BadValue> {
        let what = match self {
            Self::Token => "token",
            Self::Role => "name of the instance's role",
            Self::Tag => return Ok(()),
        };
        let Ok(text) = std::str::from_utf8(body) else {
            return Err(BadValue::metadata(what, "is not UTF-8"));
        };
        if text.is_empty() {
            return Err(BadValue::metadata(what, "is empty"));
        }
        if let Some(fault) = fault(text, ValueForm::Word) {
            return Err(BadValue::metadata(what, fault));
        }
        match self {
            Self::Token if ttl.is_some_and(|ttl| !is_lifetime(ttl)) => Err(BadValue::metadata(
                "lifetime of the token",
                "is not a number from 1 to 21600",
            )),
            Self::Role if text.len() > MAX_ROLE || !text.bytes().all(in_role) => {
                Err(BadValue::metadata(what, "is not the name of a role"))
            }
            Self::Token | Self::Role | Self::Tag => Ok(()),
        }
    }
}

fn is_lifetime(text: &str) -> bool {
    match text.parse::<u64>() {
        Ok(seconds) => (1..=MAX_TTL).contains(&seconds),
        Err(_) => false,
    }
}

fn in_role(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte)
}

/// Checks credentials, whatever their origin.
pub(super) fn check_credentials(credentials: &Credentials) -> Result<(), BadValue> {
    let parts = [
        ("access key id", Some(credentials.access_key_id())),
        ("secret access key", Some(credentials.secret_access_key())),
        ("session token", credentials.session_token()),
    ];
    for (what, value) in parts {
        let Some(value) = value else { continue };
        let fault = if value.is_empty() {
            Some("is empty")
        } else {
            fault(value, ValueForm::Word)
        };
        if let Some(fault) = fault {
            return Err(BadValue {
                place: ValueOrigin::Credentials(what),
                fault,
            });
        }
    }
    Ok(())
}

/// What is wrong with a value.
fn fault(value: &str, kind: ValueForm) -> Option<&'static str> {
    let fault = if value.ends_with('\n') {
        "ends in a line feed"
    } else if value.contains(char::is_control) {
        "holds a control character"
    } else if !value.is_ascii() {
        "holds a character that is not ASCII"
    } else {
        match kind {
            ValueForm::Line => return None,
            ValueForm::Word if value.contains(' ') => "holds a space",
            ValueForm::Endpoint if value.is_empty() => "is set, but empty",
            ValueForm::Url | ValueForm::Endpoint if !value.is_empty() && !is_url(value) => {
                "is not a URL that begins with http:// or https://"
            }
            ValueForm::Word | ValueForm::Url | ValueForm::Endpoint => return None,
        }
    };
    Some(fault)
}

fn is_url(text: &str) -> bool {
    let is_http = text.starts_with("http://") || text.starts_with("https://");
    is_http && !host(text).is_empty() && !text.contains(' ')
}
