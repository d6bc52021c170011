//! The table of fault codes, from which `authkeysd explain` and docs/messages.md are generated. The
//! explanations are in explanations.txt.

use super::FaultClass;

/// A kind of fault. Its number never changes and is never reused, so new ones are added at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the table says what each means")]
#[repr(u16)]
pub enum FaultCode {
    ConfigInvalid = 1,
    SignersInvalid,
    ClockBehind,
    StateUnusable,
    StateDenied,
    StateLost,
    KeysNotRecorded,
    PinnedKeysUnusable,
    SourceUnreachable,
    SourceDenied,
    SourceMissing,
    SourceInvalid,
    SourceOverdue,
    NoKeySet,
    DocumentInvalid,
    DocumentHasPrivateKey,
    DocumentExpired,
    DocumentUnsigned,
    SignatureInvalid,
    SignerNotAllowed,
    SerialMissing,
    SerialLower,
    SerialReused,
    AudienceWrong,
    DocumentUntrusted,
    KeyLeftOut,
    KeyTooNew,
    TooFewKeys,
    TooManyRemovals,
    AccountUnknown,
    AccountLookupFailed,
    AccountDenied,
    IdentityFailed,
    FileShared,
    FileMisplaced,
    FileContended,
    RivalWriter,
    StepHung,
    ThreadFailed,
    PathUnsafe,
    FileUnreadable,
    FileTooLarge,
    FileFlagged,
    FileLocked,
    HomeHidden,
    FileSystem,
    ProgramFailed,
    FragmentsBlocked,
    FragmentsIncomplete,
    FetchOverdue,
    CycleNotBegun,
    FileNotRead,
    ReportFailed,
    CyclePanicked,
    StatusNotWritten,
    NudgeUnavailable,
    AwsThrottled,
    AwsTimeout,
    RegionWrong,
    CredentialsMissing,
    CredentialsRefused,
    ClockSkewed,
    KmsDenied,
    SourceWarning,
}

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// The code.
    pub code: FaultCode,
    /// Its name, which people can search for.
    pub name: &'static str,
    /// The class that decides the exit code.
    pub class: FaultClass,
    /// What happened, as a clause.
    pub meaning: &'static str,
    /// What to do, in sentences.
    pub remedy: &'static str,
}

/// Each code in numerical order, with its name and class.
const TABLE: [(FaultCode, &str, FaultClass); FaultCode::SourceWarning as usize] = [
    (
        FaultCode::ConfigInvalid,
        "config-invalid",
        FaultClass::Config,
    ),
    (
        FaultCode::SignersInvalid,
        "signers-invalid",
        FaultClass::Config,
    ),
    (FaultCode::ClockBehind, "clock-behind", FaultClass::Failed),
    (
        FaultCode::StateUnusable,
        "state-unusable",
        FaultClass::Failed,
    ),
    (FaultCode::StateDenied, "state-denied", FaultClass::Denied),
    (FaultCode::StateLost, "state-lost", FaultClass::Failed),
    (
        FaultCode::KeysNotRecorded,
        "keys-not-recorded",
        FaultClass::Failed,
    ),
    (
        FaultCode::PinnedKeysUnusable,
        "pinned-keys-unusable",
        FaultClass::Failed,
    ),
    (
        FaultCode::SourceUnreachable,
        "source-unreachable",
        FaultClass::Unreachable,
    ),
    (FaultCode::SourceDenied, "source-denied", FaultClass::Denied),
    (
        FaultCode::SourceMissing,
        "source-missing",
        FaultClass::Failed,
    ),
    (
        FaultCode::SourceInvalid,
        "source-invalid",
        FaultClass::Failed,
    ),
    (
        FaultCode::SourceOverdue,
        "source-overdue",
        FaultClass::Failed,
    ),
    (FaultCode::NoKeySet, "no-key-set", FaultClass::Failed),
    (
        FaultCode::DocumentInvalid,
        "document-invalid",
        FaultClass::Failed,
    ),
    (
        FaultCode::DocumentHasPrivateKey,
        "document-has-private-key",
        FaultClass::Failed,
    ),
    (
        FaultCode::DocumentExpired,
        "document-expired",
        FaultClass::Failed,
    ),
    (
        FaultCode::DocumentUnsigned,
        "document-unsigned",
        FaultClass::Failed,
    ),
    (
        FaultCode::SignatureInvalid,
        "signature-invalid",
        FaultClass::Failed,
    ),
    (
        FaultCode::SignerNotAllowed,
        "signer-not-allowed",
        FaultClass::Failed,
    ),
    (
        FaultCode::SerialMissing,
        "serial-missing",
        FaultClass::Failed,
    ),
    (FaultCode::SerialLower, "serial-lower", FaultClass::Failed),
    (FaultCode::SerialReused, "serial-reused", FaultClass::Failed),
    (
        FaultCode::AudienceWrong,
        "audience-wrong",
        FaultClass::Failed,
    ),
    (
        FaultCode::DocumentUntrusted,
        "document-untrusted",
        FaultClass::Failed,
    ),
    (FaultCode::KeyLeftOut, "key-left-out", FaultClass::Failed),
    (FaultCode::KeyTooNew, "key-too-new", FaultClass::Failed),
    (FaultCode::TooFewKeys, "too-few-keys", FaultClass::Failed),
    (
        FaultCode::TooManyRemovals,
        "too-many-removals",
        FaultClass::Failed,
    ),
    (
        FaultCode::AccountUnknown,
        "account-unknown",
        FaultClass::Failed,
    ),
    (
        FaultCode::AccountLookupFailed,
        "account-lookup-failed",
        FaultClass::Failed,
    ),
    (
        FaultCode::AccountDenied,
        "account-denied",
        FaultClass::Denied,
    ),
    (
        FaultCode::IdentityFailed,
        "identity-failed",
        FaultClass::Failed,
    ),
    (FaultCode::FileShared, "file-shared", FaultClass::Failed),
    (
        FaultCode::FileMisplaced,
        "file-misplaced",
        FaultClass::Failed,
    ),
    (
        FaultCode::FileContended,
        "file-contended",
        FaultClass::Failed,
    ),
    (FaultCode::RivalWriter, "rival-writer", FaultClass::Failed),
    (FaultCode::StepHung, "step-hung", FaultClass::Failed),
    (FaultCode::ThreadFailed, "thread-failed", FaultClass::Failed),
    (FaultCode::PathUnsafe, "path-unsafe", FaultClass::Failed),
    (
        FaultCode::FileUnreadable,
        "file-unreadable",
        FaultClass::Failed,
    ),
    (
        FaultCode::FileTooLarge,
        "file-too-large",
        FaultClass::Failed,
    ),
    (FaultCode::FileFlagged, "file-flagged", FaultClass::Failed),
    (FaultCode::FileLocked, "file-locked", FaultClass::Failed),
    (FaultCode::HomeHidden, "home-hidden", FaultClass::Failed),
    (FaultCode::FileSystem, "file-system", FaultClass::Failed),
    (
        FaultCode::ProgramFailed,
        "program-failed",
        FaultClass::Failed,
    ),
    (
        FaultCode::FragmentsBlocked,
        "fragments-blocked",
        FaultClass::Failed,
    ),
    (
        FaultCode::FragmentsIncomplete,
        "fragments-incomplete",
        FaultClass::Failed,
    ),
    (FaultCode::FetchOverdue, "fetch-overdue", FaultClass::Failed),
    (
        FaultCode::CycleNotBegun,
        "cycle-not-begun",
        FaultClass::Failed,
    ),
    (FaultCode::FileNotRead, "file-not-read", FaultClass::Failed),
    (FaultCode::ReportFailed, "report-failed", FaultClass::Failed),
    (
        FaultCode::CyclePanicked,
        "cycle-panicked",
        FaultClass::Failed,
    ),
    (
        FaultCode::StatusNotWritten,
        "status-not-written",
        FaultClass::Failed,
    ),
    (
        FaultCode::NudgeUnavailable,
        "nudge-unavailable",
        FaultClass::Failed,
    ),
    (
        FaultCode::AwsThrottled,
        "aws-throttled",
        FaultClass::Unreachable,
    ),
    (
        FaultCode::AwsTimeout,
        "aws-timeout",
        FaultClass::Unreachable,
    ),
    (FaultCode::RegionWrong, "region-wrong", FaultClass::Failed),
    (
        FaultCode::CredentialsMissing,
        "credentials-missing",
        FaultClass::Denied,
    ),
    (
        FaultCode::CredentialsRefused,
        "credentials-refused",
        FaultClass::Denied,
    ),
    (
        FaultCode::ClockSkewed,
        "clock-skewed",
        FaultClass::Unreachable,
    ),
    (FaultCode::KmsDenied, "kms-denied", FaultClass::Denied),
    (
        FaultCode::SourceWarning,
        "source-warning",
        FaultClass::Failed,
    ),
];

/// One entry for each name: what it means, and what to do.
const EXPLANATIONS: &str = include_str!("explanations.txt");

impl FaultCode {
    /// All codes.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(code, ..)| *code)
    }

    /// Reads `AK` and three digits.
    pub fn parse(text: &str) -> Option<Self> {
        Self::all().find(|code| code.to_string() == text)
    }

    /// The class that decides the exit code.
    pub fn class(self) -> FaultClass {
        self.row().1
    }

    /// What it means.
    pub fn explanation(self) -> Explanation {
        let (name, class) = self.row();
        let mut lines = EXPLANATIONS.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(" | "));
        let texts = line.and_then(|line| line.split_once(" | "));
        let (meaning, remedy) = texts.unwrap_or_default();
        Explanation {
            code: self,
            name,
            class,
            meaning,
            remedy,
        }
    }

    /// Its name and class. The table has a row for each number, which its length and a test ensure.
    fn row(self) -> (&'static str, FaultClass) {
        match TABLE.get(usize::from(self.number() - 1)) {
            Some((_, name, class)) => (name, *class),
            None => ("unknown", FaultClass::Failed),
        }
    }

    pub(super) fn number(self) -> u16 {
        self as u16
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_has_its_own_row_with_a_name_of_its_own() {
        for (index, (code, name, class)) in TABLE.iter().enumerate() {
            assert_eq!(usize::from(code.number()), index + 1, "{name}");
            assert_eq!((code.row(), code.class()), ((*name, *class), *class));
            assert_eq!(FaultCode::parse(&code.to_string()), Some(*code));
        }
        assert_eq!(
            TABLE
                .iter()
                .map(|(_, name, _)| name)
                .collect::<BTreeSet<_>>()
                .len(),
            TABLE.len()
        );
    }

    #[test]
    fn codes_that_are_out_in_the_world_keep_their_numbers() {
        for (code, text) in [
            (FaultCode::ConfigInvalid, "AK001"),
            (FaultCode::SourceDenied, "AK010"),
            (FaultCode::KeyLeftOut, "AK026"),
            (FaultCode::RivalWriter, "AK037"),
            (FaultCode::ReportFailed, "AK053"),
        ] {
            assert_eq!(code.to_string(), text);
        }
        assert!(
            ["AK000", "AK54", "ak001", "AK999", ""]
                .iter()
                .all(|text| FaultCode::parse(text).is_none())
        );
    }

    #[test]
    fn each_name_has_one_explanation_a_clause_and_sentences() {
        assert_eq!(EXPLANATIONS.lines().count(), TABLE.len());
        for Explanation {
            name,
            meaning,
            remedy,
            ..
        } in FaultCode::all().map(FaultCode::explanation)
        {
            assert!(
                !meaning.is_empty() && !meaning.ends_with('.') && !meaning.contains(" | "),
                "{name}"
            );
            assert!(remedy.ends_with('.') && !remedy.contains(" | "), "{name}");
            assert!(
                remedy.starts_with(|c: char| c.is_ascii_uppercase()),
                "{name}"
            );
        }
    }
}
