//! Runs a rotation step by step, as Secrets Manager calls a rotation function.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use jiff::SignedDuration;

use super::engine::Engine;
use super::real::Real;
use super::world::Halt;
use super::{Begins, Nodes, Options, Publisher, RotationPlan, secret};
use crate::using::keep_private_keys;
use authkeys_aws::client::{Aws, Limits};
use authkeys_aws::pair_secret::PairSecret;

/// How much of an invocation's time is kept for the answer.
const MARGIN: Duration = Duration::from_secs(10);
/// How long the last look at the nodes may take.
const LAST_LOOK: Duration = Duration::from_secs(10);

/// The environment variables with the settings of a rotation, and the option of `authkeysctl
/// rotate` for each.
const SETTINGS: [(&str, &str); 11] = [
    ("FROM", "--from"),
    ("LOGIN", "--login"),
    ("PORT", "--port"),
    ("ADDRESS", "--address"),
    ("SAMPLE", "--sample"),
    ("GRACE", "--grace"),
    ("ALLOW_MISSING", "--allow-missing"),
    ("KEY_TYPE", "--key-type"),
    ("SIGN", "--sign"),
    ("ACCOUNTS", "--accounts"),
    ("OPTION", "--option"),
];

/// One of the four steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Create a new pair under the token.
    Create,
    /// Put the new public key into the key set.
    Set,
    /// Check that all nodes have it and accept it.
    Test,
    /// Make the new pair the current one, and give the old key an end.
    Finish,
}

impl Step {
    /// Parses Secrets Manager's name for the step.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "createSecret" => Ok(Self::Create),
            "setSecret" => Ok(Self::Set),
            "testSecret" => Ok(Self::Test),
            "finishSecret" => Ok(Self::Finish),
            other => Err(format!(
                "unknown step {other:?}; expected createSecret, setSecret, testSecret or \
                 finishSecret"
            )),
        }
    }
}

/// A request from Secrets Manager.
#[derive(Debug, Clone)]
pub struct RotationRequest {
    /// The secret's ARN.
    pub secret: String,
    /// The id of the version that will become the current one.
    pub token: String,
    /// The step.
    pub step: Step,
    /// Passed on, if the event has one.
    pub rotation_token: Option<String>,
}

#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
}

/// Must be called at program start, before there is another thread: from then on, freed memory that
/// may hold a private key is overwritten, and the process writes no core dump.
pub fn prepare() {
    keep_private_keys();
}

/// Does one step; repeating a step that is done has no effect. It ends at least ten seconds before
/// `left` has passed. The error says what went wrong, and never contains a secret.
pub async fn run(
    request: &RotationRequest,
    setting: impl Fn(&str) -> Option<String>,
    left: Duration,
) -> Result<(), String> {
    let options = options(request, setting)?;
    let limit = left.saturating_sub(MARGIN);
    match tokio::time::timeout(limit, step(request, &options, limit)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(halt)) => Err(halt
            .why
            .unwrap_or_else(|| "it failed for the reason in the lines above".to_owned())),
        Err(_elapsed) => Err(format!(
            "the function's time is over before {:?} was done; give it a longer timeout",
            request.step
        )),
    }
}

/// Reads the environment as the command's options.
fn options(
    request: &RotationRequest,
    setting: impl Fn(&str) -> Option<String>,
) -> Result<Options, String> {
    let target = setting("TARGET").unwrap_or_default();
    if target.is_empty() {
        return Err("the environment variable TARGET is missing".to_owned());
    }
    let mut words: Vec<OsString> = vec!["rotate".into(), target.into(), "--secret".into()];
    words.push(request.secret.clone().into());
    // Several filters are written tag:A=1,tag:B=2.
    let filters = setting("FILTER").unwrap_or_default();
    for (number, filter) in filters.split(",tag:").enumerate() {
        match (number, filter) {
            (0, "") => {}
            (0, first) => words.push(format!("--filter={first}").into()),
            (_, further) => words.push(format!("--filter=tag:{further}").into()),
        }
    }
    for (name, option) in SETTINGS {
        let value = setting(name).unwrap_or_default();
        if !value.is_empty() {
            words.push(format!("{option}={value}").into());
        }
    }
    let read = CommandLine::try_parse_from(words);
    let options = read.map_err(|fault| {
        let text = fault.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        format!(
            "the function's environment is wrong: {}",
            first.trim_start_matches("error: ")
        )
    })?;
    let options = options.options;
    options.selection.check(Begins::Nodes)?;
    Ok(options)
}

async fn step(request: &RotationRequest, options: &Options, limit: Duration) -> Result<(), Halt> {
    let (id, region) = secret(&options.secret).map_err(Halt::failed)?;
    let publishing = options.publishing();
    let mut publisher = Publisher::new(&publishing, &options.target, "rotate")
        .map_err(|exit| Halt { exit, why: None })?;
    publisher.target = publisher.target.limited(Limits::patient());
    let plan = RotationPlan {
        token: Some(request.token.clone()),
        ..options.plan(&id, &publisher)
    };
    let aws = Arc::new(Aws::new(Limits::patient()));
    let pair_secret = PairSecret::new(aws, &id, region.as_deref());
    let wait = limit.saturating_sub(LAST_LOOK).max(Duration::from_secs(1));
    let mut real = Real {
        secret: pair_secret.with_rotation_token(request.rotation_token.clone()),
        publisher,
        nodes: Nodes::new(&options.selection),
        doors: options.doors(),
        timeout: SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX),
        nudges: options.nudge,
        prints: true,
        steps: Vec::new(),
        before: None,
    };
    let is_current = is_current(&mut real, request).await?;
    let mut engine = Engine::new(&mut real, &plan);
    match request.step {
        Step::Create | Step::Set | Step::Test if is_current => Ok(()),
        Step::Create => engine.create().await,
        Step::Set => engine.set().await,
        Step::Test => {
            engine.deploy().await?;
            engine.test().await
        }
        Step::Finish => {
            if !is_current {
                engine.finish().await?;
            }
            engine.retire(false).await
        }
    }
}

/// Whether the token's version is already the current one; fails when it is not part of a rotation.
async fn is_current(real: &mut Real<'_>, request: &RotationRequest) -> Result<bool, Halt> {
    use super::world::World as _;
    let stages = real.stages().await?;
    let RotationRequest { secret, token, .. } = request;
    if !stages.is_rotation_enabled {
        return Err(Halt::failed(format!(
            "rotation is not enabled for secret {secret}"
        )));
    }
    let Some(labels) = stages.labels.get(token) else {
        return Err(Halt::failed(format!(
            "version {token} of secret {secret} has no stage, so it is not in a rotation"
        )));
    };
    if labels.iter().any(|label| label == "AWSCURRENT") {
        return Ok(true);
    }
    if labels.iter().any(|label| label == "AWSPENDING") {
        return Ok(false);
    }
    Err(Halt::failed(format!(
        "version {token} of secret {secret} is not AWSPENDING, so it is not in a rotation"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> RotationRequest {
        RotationRequest {
            secret: "arn:aws:secretsmanager:eu-west-1:123456789012:secret:web-AbCdEf".to_owned(),
            token: "0123456789abcdef0123456789abcdef".to_owned(),
            step: Step::Create,
            rotation_token: None,
        }
    }

    fn read(settings: &[(&str, &str)]) -> Result<Options, String> {
        options(&request(), |name| {
            let found = settings.iter().find(|(setting, _)| *setting == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_is_read_as_the_commands_options_are() {
        let options = read(&[
            ("TARGET", "s3://keys/web.json"),
            ("FILTER", "tag:Role=a,b,tag:Rotate=True"),
            ("FROM", "s3://reports/web/"),
            ("LOGIN", "ubuntu"),
            ("PORT", "2222"),
            ("ADDRESS", "dns"),
            ("SAMPLE", "5"),
            ("GRACE", "1h"),
            ("ALLOW_MISSING", "5%"),
            ("KEY_TYPE", "rsa-4096"),
            ("SIGN", ""),
        ])
        .unwrap();
        assert_eq!(options.port, 2_222);
        assert_eq!(options.sample, Some(5));
        assert_eq!(options.allow_missing, super::super::Allowance::Percent(5));
        assert_eq!(options.grace, SignedDuration::from_hours(1));
        assert!(options.sign.is_none());
        let shown = format!("{:?}", options.selection);
        assert!(shown.contains("a,b") && shown.contains("Rotate"), "{shown}");
    }

    #[test]
    fn what_is_wrong_in_the_environment_is_named() {
        assert!(read(&[]).unwrap_err().contains("TARGET is missing"));
        let fault = read(&[("TARGET", "s3://k/w"), ("PORT", "ssh")]).unwrap_err();
        assert!(fault.contains("--port"), "{fault}");
        assert!(Step::parse("deleteSecret").is_err());
    }
}
