//! The file of allowed signers. It is read in every cycle: a signer who is removed from it can sign
//! nothing from then on.

use jiff::tz::TimeZone;

use super::Agent;
use crate::host::Host;
use authkeys_core::config::Config;
use authkeys_core::origin::{Fetch, MAX_DOCUMENT};
use authkeys_core::verify::{SignerRules, Signers, SignersFault};
use authkeys_terminal::bounded;

/// The signers whose signatures count in this cycle: `None` if no signature is required; the error,
/// one line, if the file cannot be read.
pub(super) type Authority = Result<Option<Signers>, String>;

impl<F: Fetch, H: Host> Agent<F, H> {
    /// Reads the file, if one is configured.
    pub(super) fn authority(&self) -> Authority {
        read_signers(&self.config, self.zone).map_err(|faults| {
            let path = self
                .config
                .signers
                .as_ref()
                .map(|signers| signers.path.display().to_string());
            let path = path.unwrap_or_default();
            let faults: Vec<String> = faults.iter().map(|fault| fault.at(&path)).collect();
            format!("nobody's signature can be checked: {}", faults.join("; "))
        })
    }
}

/// Reads the file that `[trust] allowed_signers` names, or returns every fault in it. A file that
/// others can write is refused: they could decide whose keys are installed.
pub fn read_signers(
    config: &Config,
    zone: fn() -> TimeZone,
) -> Result<Option<Signers>, Vec<SignersFault>> {
    let Some(signers) = &config.signers else {
        return Ok(None);
    };
    let limit = u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX);
    let us = nix::unistd::geteuid().as_raw();
    let content = match bounded::read_trusted(&signers.path, limit, us) {
        Ok(Some(content)) => content,
        Ok(None) => {
            let message = "no such file; [trust] allowed_signers names it";
            return Err(of_whole_file(message.to_owned()));
        }
        Err(message) => return Err(of_whole_file(message)),
    };
    let zone = zone();
    let principals = signers.principals.as_deref();
    let rules = SignerRules {
        principals,
        zone: &zone,
        min_rsa_bits: config.line_rules.min_rsa_bits,
    };
    Signers::parse(&content, &rules).map(Some)
}

/// A fault that is not in one of the lines.
fn of_whole_file(message: String) -> Vec<SignersFault> {
    vec![SignersFault { line: 0, message }]
}
