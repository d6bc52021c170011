//! Lists who may sign documents, and for how long.

use jiff::{SignedDuration, Timestamp};

use super::{Finding, Level};
use authkeys_core::config::Config;
use authkeys_core::verify::{Signer, Signers};

/// Before an old key expires, somebody has to create and distribute a new one and sign with it.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Lists everyone whose signature counts.
pub(super) fn examine(config: &Config, signers: &Signers, now: Timestamp) -> Vec<Finding> {
    let subject = match &config.signers {
        Some(signers) => signers.path.display().to_string(),
        None => String::new(),
    };
    let mut findings = Vec::new();
    for signer in signers.counting() {
        let (level, fault) = judge(signer, now);
        let message = format!("line {}: {signer}{fault}", signer.line);
        findings.push(Finding::new(level, "signers", &subject, message));
    }
    for who in signers.missing() {
        let message = format!(
            "nobody in it is {who}, whom [trust] principals names; add a line, or correct the name"
        );
        findings.push(Finding::new(Level::Warning, "signers", &subject, message));
    }
    findings
}

fn judge(signer: &Signer, now: Timestamp) -> (Level, String) {
    match (signer.valid_after, signer.valid_before) {
        (_, Some(until)) if until < now => (
            Level::Warning,
            ": expired, what he signed is refused; publish what another signed".to_owned(),
        ),
        (Some(from), _) if from > now => (Level::Ok, ": not valid yet".to_owned()),
        (_, Some(until)) if until.duration_since(now) < SOON => {
            let days = until.duration_since(now).as_hours() / 24;
            let plural = if days == 1 { "" } else { "s" };
            (
                Level::Warning,
                format!(": expires in {days} day{plural}; publish what another signed before that"),
            )
        }
        _ => (Level::Ok, String::new()),
    }
}
