//! What was read at the place of an account's keys: one file, or the fragments from which
//! update-ssh-keys generates one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use crate::host::{FoundFragments, Host, HostError, Place, Snapshot, Target};
use authkeys_core::key::Fingerprint;
use authkeys_core::plan::{
    Desired, Fragments, Generator, Mode, Plan, PresentLines, add_pinned, keep_present_lines, plan,
    plan_fragments,
};

/// What was read.
#[derive(Debug)]
pub(super) enum Files {
    /// One file.
    One(Snapshot),
    /// Fragments: what the host found, and the same in the form that plans use.
    Several(Box<FoundFragments>, Fragments),
}

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Enforce a key set.
    KeySet,
    /// One of the account's sources was never read. Its keys may be in the file, so remove only the
    /// keys that the other sources revoke or no longer have in force.
    Addition,
    /// No key set is known: only add the pinned keys.
    PinnedOnly,
}

impl Files {
    /// Reads all files of the target.
    pub(super) fn read(host: &impl Host, target: &Target) -> Result<Self, HostError> {
        match target.place {
            Place::Fragment { .. } => host.fragments(target).map(Self::of_fragments),
            Place::Home { .. } | Place::System { .. } => host.read(target).map(Self::One),
        }
    }

    pub(super) fn of_fragments(found: FoundFragments) -> Self {
        let generator = match (found.installed, found.obstacles.is_empty()) {
            (false, _) => Generator::None,
            (true, true) => Generator::UpdateSshKeys,
            (true, false) => Generator::Blocked,
        };
        let mut others = BTreeMap::new();
        for (name, snapshot) in &found.others {
            let content = snapshot.content.clone().unwrap_or_default();
            others.insert(name.clone(), content);
        }
        let fragments = Fragments {
            ours: found.ours.content.clone(),
            others,
            generated: found.generated.content.clone(),
            generator,
            directory_missing: !found.exists,
        };
        Self::Several(Box::new(found), fragments)
    }

    /// Plans what the files must become.
    pub(super) fn plan(
        &self,
        purpose: Purpose,
        desired: &Desired,
        mode: Mode,
        installed: &BTreeSet<Fingerprint>,
    ) -> Plan {
        match (self, purpose) {
            (Self::One(snapshot), Purpose::KeySet) => {
                plan(desired, mode, snapshot.content.as_deref(), installed)
            }
            (Self::One(snapshot), Purpose::Addition) => {
                let present = snapshot.content.as_deref();
                let mut desired = desired.clone();
                keep_present_lines(&mut desired, mode, present.unwrap_or_default());
                plan(&desired, mode, present, &BTreeSet::new())
            }
            (Self::One(snapshot), Purpose::PinnedOnly) => {
                add_pinned(desired, mode, snapshot.content.as_deref())
            }
            (Self::Several(_, fragments), Purpose::KeySet) => {
                plan_fragments(desired, mode, fragments, installed)
            }
            (Self::Several(_, fragments), Purpose::Addition) => {
                let ours = fragments.ours.as_deref().unwrap_or_default();
                let mut desired = desired.clone();
                keep_present_lines(&mut desired, Mode::Exclusive, ours);
                plan_fragments(&desired, Mode::Block, fragments, &BTreeSet::new())
            }
            // Nothing is removed.
            (Self::Several(_, fragments), Purpose::PinnedOnly) => {
                plan_fragments(desired, Mode::Block, fragments, &BTreeSet::new())
            }
        }
    }

    /// Plans what the files would become after an earlier plan.
    pub(super) fn plan_after(
        &self,
        earlier: &Plan,
        desired: &Desired,
        mode: Mode,
        installed: &BTreeSet<Fingerprint>,
    ) -> Plan {
        match self {
            Self::One(snapshot) => {
                let present = earlier.content.as_deref().or(snapshot.content.as_deref());
                plan(desired, mode, present, installed)
            }
            Self::Several(_, fragments) => {
                plan_fragments(desired, mode, &fragments.after(earlier), installed)
            }
        }
    }

    /// The keys on the present lines.
    pub(super) fn standing(&self) -> PresentLines {
        let contents: Vec<&[u8]> = match self {
            Self::One(snapshot) => snapshot.content.as_deref().into_iter().collect(),
            Self::Several(_, fragments) => fragments.all().collect(),
        };
        PresentLines::of(
            contents
                .into_iter()
                .flat_map(|content| content.split(|byte| *byte == b'\n')),
        )
    }

    /// Directory and name of the file that sshd finally reads. No two accounts may share one.
    pub(super) fn place(&self, target: &Target) -> Option<((u64, u64), OsString)> {
        let (snapshot, path) = match self {
            Self::One(snapshot) => (snapshot, target.path()),
            Self::Several(found, _) => (&found.generated, target.generated().path()),
        };
        Some((snapshot.directory?, path.file_name()?.to_owned()))
    }

    /// Everything that the files hold, so that it can be restored.
    pub(super) fn whole(&self) -> Option<Vec<u8>> {
        match self {
            Self::One(snapshot) => snapshot.content.clone(),
            Self::Several(found, fragments) => {
                if !found.exists && found.generated.content.is_none() {
                    return None;
                }
                let mut texts = Vec::new();
                if let Some(content) = &fragments.ours {
                    texts.push(headed("our fragment", content));
                }
                for (name, content) in &fragments.others {
                    texts.push(headed(name, content));
                }
                if let Some(content) = &fragments.generated {
                    texts.push(headed("authorized_keys", content));
                }
                Some(texts.join(&b'\n'))
            }
        }
    }
}

/// A file's content below a line that names the file.
fn headed(name: &str, content: &[u8]) -> Vec<u8> {
    let mut text = format!("# {name}\n").into_bytes();
    text.extend_from_slice(content);
    text
}
