//! What a secret's stages say about a rotation.

use zeroize::Zeroizing;

use super::world::Halt;
use authkeys_aws::pair_secret::{SecretVersion, Stages};
use authkeys_core::document::{BadKeyPair, KeyPair};
use authkeys_core::key::{Fingerprint, KeyLine, LineRules};

/// A version with a key pair.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) version: String,
    pub(super) line: KeyLine,
    pub(super) key: Fingerprint,
    /// The public key as stored in the secret.
    pub(super) public: String,
    pub(super) private: Zeroizing<String>,
}

impl Holder {
    /// Its key, for messages.
    pub(super) fn described(&self) -> String {
        format!("{} ({})", self.key, self.line.key.kind())
    }
}

/// What the secret holds.
#[derive(Debug, Clone, Default)]
pub(super) struct SecretContent {
    pub(super) exists: bool,
    /// Whether the secret has no version at all, not even an empty one.
    pub(super) has_no_version: bool,
    pub(super) current_version: Option<String>,
    pub(super) current_value: Zeroizing<String>,
    /// The pair that clients use; `None` before the first rotation.
    pub(super) current: Option<Holder>,
    /// The pair that will become the current one.
    pub(super) pending: Option<Holder>,
    /// A pending version that has no value yet.
    pub(super) empty_pending: Option<String>,
    /// The current version, if AWSPENDING is still on it.
    pub(super) pending_label_on_current: Option<String>,
    previous: Option<Holder>,
}

impl SecretContent {
    /// Reads what a secret holds; the error names the stage whose value is not a key pair.
    pub(super) fn of(stages: Stages, secret: &str) -> Result<Self, Halt> {
        let mut held = Self {
            exists: stages.exists,
            has_no_version: stages.labels.is_empty(),
            ..Self::default()
        };
        if let Some(version) = &stages.current {
            held.current_version = Some(version.id.clone());
            held.current_value = version.value.clone();
            held.current = holder(version)
                .map_err(|why| Halt::failed(format!("secret {secret}, AWSCURRENT: {why}")))?;
        }
        if let Some(pending) = &stages.pending {
            if is_version(&stages.current, &pending.id) {
                held.pending_label_on_current = Some(pending.id.clone());
            } else if is_version(&stages.previous, &pending.id) {
                // A finished rotation left the label behind: the key before the current one must
                // not come back.
            } else {
                held.pending = holder(pending)
                    .map_err(|why| Halt::failed(format!("secret {secret}, AWSPENDING: {why}")))?;
                if held.pending.is_none() {
                    held.empty_pending = Some(pending.id.clone());
                }
            }
        }
        if let Some(previous) = &stages.previous {
            // An old value that is not a key pair is ignored.
            held.previous = holder(previous).unwrap_or_default();
        }
        Ok(held)
    }

    /// The same without private keys, which are not needed during a wait.
    #[must_use]
    pub(super) fn public(mut self) -> Self {
        self.current_value = Zeroizing::default();
        let holders = [&mut self.current, &mut self.pending, &mut self.previous];
        for holder in holders.into_iter().flatten() {
            holder.private = Zeroizing::default();
        }
        self
    }

    /// The pending version, with or without a value.
    pub(super) fn pending_version(&self) -> Option<&str> {
        match &self.pending {
            Some(holder) => Some(&holder.version),
            None => self.empty_pending.as_deref(),
        }
    }

    /// The key of the version before the current one, if it differs.
    pub(super) fn old(&self) -> Option<Fingerprint> {
        Some(self.older()?.key)
    }

    /// The line of that key.
    pub(super) fn old_line(&self) -> Option<&KeyLine> {
        Some(&self.older()?.line)
    }

    /// That key as stored in the secret.
    pub(super) fn old_public(&self) -> Option<String> {
        Some(self.older()?.public.clone())
    }

    fn older(&self) -> Option<&Holder> {
        let previous = self.previous.as_ref()?;
        for in_use in [&self.current, &self.pending].into_iter().flatten() {
            if in_use.key == previous.key {
                return None;
            }
        }
        Some(previous)
    }
}

fn is_version(version: &Option<SecretVersion>, id: &str) -> bool {
    matches!(version, Some(version) if version.id == id)
}

fn holder(version: &SecretVersion) -> Result<Option<Holder>, String> {
    let pair = KeyPair::read(&version.value).map_err(|fault: BadKeyPair| fault.to_string())?;
    let Some(pair) = pair else {
        return Ok(None);
    };
    let line = KeyLine::from_parts(&pair.public, &[], &LineRules::default())
        .map_err(|fault| format!("PublicKey is not a key that sshd accepts: {fault}"))?;
    Ok(Some(Holder {
        version: version.id.clone(),
        key: line.key.fingerprint(),
        line,
        public: pair.public,
        private: pair.private,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::pair::PairKeyType;
    use super::*;

    fn version(id: &str) -> Option<SecretVersion> {
        let pair = PairKeyType::Ed25519.pair("c").unwrap();
        Some(SecretVersion {
            id: id.to_owned(),
            value: pair.write_into("{}").unwrap(),
        })
    }

    #[test]
    fn a_label_that_a_finished_rotation_left_behind_makes_no_key_pending() {
        let one = version("1");
        let two = version("2");
        let three = version("3");
        for (pending, is_pending) in [(&one, false), (&two, false), (&three, true), (&None, false)]
        {
            let stages = Stages {
                exists: true,
                previous: one.clone(),
                current: two.clone(),
                pending: pending.clone(),
                ..Stages::default()
            };
            let held = SecretContent::of(stages, "web").unwrap();
            assert_eq!(held.pending.is_some(), is_pending, "{pending:?}");
            assert_eq!(held.pending_version().is_some(), is_pending, "{pending:?}");
            let old = held.old().unwrap();
            assert_ne!(Some(old), held.current.map(|current| current.key));
        }
    }

    #[test]
    fn a_pair_that_was_written_again_is_not_an_old_one() {
        let one = version("1");
        let again = one.clone().map(|version| SecretVersion {
            id: "2".to_owned(),
            ..version
        });
        let stages = Stages {
            exists: true,
            previous: one,
            current: again,
            ..Stages::default()
        };
        assert_eq!(SecretContent::of(stages, "web").unwrap().old(), None);
    }
}
