//! The table of fault codes, from which `authkeysd explain` and docs/messages.md are made.

use super::FaultClass;

/// A kind of fault. Its number never changes and is never used again for another one, so new ones go to the end.
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
}

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// Which code.
    pub code: FaultCode,
    /// Its name, for people who search for it.
    pub name: &'static str,
    /// How it counts for the exit code.
    pub class: FaultClass,
    /// What happened, a clause.
    pub meaning: &'static str,
    /// What to do, in sentences.
    pub remedy: &'static str,
}

/// Each code, in the order of their numbers.
const TABLE: [Explanation; FaultCode::StatusNotWritten as usize] = [
    row(
        FaultCode::ConfigInvalid,
        "config-invalid",
        FaultClass::Config,
        "the configuration file has a fault",
        "Correct the file and line that the message names. Nothing is changed on the node until then; a running service keeps its previous configuration.",
    ),
    row(
        FaultCode::SignersInvalid,
        "signers-invalid",
        FaultClass::Config,
        "the file of allowed signers cannot be used, so no signature can be checked",
        "Correct the lines that the message names, and make sure that only root can write the file. The keys in force stay.",
    ),
    row(
        FaultCode::ClockBehind,
        "clock-behind",
        FaultClass::Failed,
        "the system clock is earlier than the build of the program or than the last recorded time",
        "Set the clock. No key's window opens or closes until then. If the clock was ahead before and is right now, check what is published and run `authkeysd sync --accept-rollback`.",
    ),
    row(
        FaultCode::StateUnusable,
        "state-unusable",
        FaultClass::Failed,
        "the state directory or a file in it cannot be read or written",
        "Do what the message says. Keys are still removed, but no key is installed that cannot be recorded.",
    ),
    row(
        FaultCode::StateDenied,
        "state-denied",
        FaultClass::Denied,
        "this user may not use the state directory",
        "Run authkeysd as root, or set `state_dir` to a directory of your own.",
    ),
    row(
        FaultCode::StateLost,
        "state-lost",
        FaultClass::Failed,
        "an earlier cycle ran on this node, but the state directory does not record it",
        "Compare the serial in force with the one published last: without the record an older document would be accepted. Find out who emptied or moved the directory.",
    ),
    row(
        FaultCode::KeysNotRecorded,
        "keys-not-recorded",
        FaultClass::Failed,
        "new keys were not installed because they could not be recorded",
        "Make the state directory writable. A key that is not recorded could not be removed later.",
    ),
    row(
        FaultCode::PinnedKeysUnusable,
        "pinned-keys-unusable",
        FaultClass::Failed,
        "the file of pinned keys, or a line in it, cannot be used",
        "Correct the file that `pinned_keys` names. The pinned keys that were read last stay in force.",
    ),
    row(
        FaultCode::SourceUnreachable,
        "source-unreachable",
        FaultClass::Unreachable,
        "the source gave no answer",
        "Nothing, unless it lasts: authkeysd tries again. Then check DNS, routes, security groups, the proxy and certificates. The last good key set stays in force.",
    ),
    row(
        FaultCode::SourceDenied,
        "source-denied",
        FaultClass::Denied,
        "the source denied access",
        "Allow the action on the resource that the message names. The last good key set stays in force.",
    ),
    row(
        FaultCode::SourceMissing,
        "source-missing",
        FaultClass::Failed,
        "nothing is published at the source",
        "Publish a key set there, or correct `source`. The last good key set stays in force.",
    ),
    row(
        FaultCode::SourceInvalid,
        "source-invalid",
        FaultClass::Failed,
        "the source's answer, or the request to it, is not valid",
        "Correct `source`, its region or its endpoint as the message says. The last good key set stays in force.",
    ),
    row(
        FaultCode::SourceOverdue,
        "source-overdue",
        FaultClass::Failed,
        "the source has given no good answer for longer than `max_stale`",
        "Fix the fault that the message names beside it. The keys stay in force.",
    ),
    row(
        FaultCode::NoKeySet,
        "no-key-set",
        FaultClass::Failed,
        "no key set is known for this account",
        "Fix the fault of the account's source. The file is left unchanged.",
    ),
    row(
        FaultCode::DocumentInvalid,
        "document-invalid",
        FaultClass::Failed,
        "the published document cannot be read as a key set",
        "Correct the document as the message says and publish it again. The last good key set stays in force.",
    ),
    row(
        FaultCode::DocumentHasPrivateKey,
        "document-has-private-key",
        FaultClass::Failed,
        "the published document holds a private key",
        "Replace the key pair, since every node could read the private half, and publish only the new public key.",
    ),
    row(
        FaultCode::DocumentExpired,
        "document-expired",
        FaultClass::Failed,
        "the document in force is past its `expires`",
        "Publish a new document. The keys stay in force.",
    ),
    row(
        FaultCode::DocumentUnsigned,
        "document-unsigned",
        FaultClass::Failed,
        "the document is not signed, and `[trust]` requires a signature",
        "Sign the document and publish it together with its signature. Only JSON documents can be signed.",
    ),
    row(
        FaultCode::SignatureInvalid,
        "signature-invalid",
        FaultClass::Failed,
        "the document's signature is not valid",
        "Sign the document again, exactly as it is published.",
    ),
    row(
        FaultCode::SignerNotAllowed,
        "signer-not-allowed",
        FaultClass::Failed,
        "the document is signed by someone who is not allowed to sign it",
        "Have it signed by an allowed signer, or add the signer to the file that `[trust] allowed_signers` names.",
    ),
    row(
        FaultCode::SerialMissing,
        "serial-missing",
        FaultClass::Failed,
        "the document has no serial, but needs one",
        "Publish it with a `serial` that is higher than the last one.",
    ),
    row(
        FaultCode::SerialLower,
        "serial-lower",
        FaultClass::Failed,
        "the document's serial is lower than one that was accepted before",
        "Publish it with a higher serial. To go back on purpose, run `authkeysd sync --accept-rollback`.",
    ),
    row(
        FaultCode::SerialReused,
        "serial-reused",
        FaultClass::Failed,
        "the document's serial was accepted before with another content",
        "Publish it with the next serial.",
    ),
    row(
        FaultCode::AudienceWrong,
        "audience-wrong",
        FaultClass::Failed,
        "the document's audience is not this node's",
        "Publish the document that is meant for this node, or correct `[trust] audience`.",
    ),
    row(
        FaultCode::DocumentUntrusted,
        "document-untrusted",
        FaultClass::Failed,
        "the document in force is no longer trusted",
        "Publish the document again, signed by an allowed signer and for this node's audience. The keys stay in force.",
    ),
    row(
        FaultCode::KeyLeftOut,
        "key-left-out",
        FaultClass::Failed,
        "a published key is not valid and was left out",
        "Correct the line that the message names and publish again. The other keys are in force.",
    ),
    row(
        FaultCode::KeyTooNew,
        "key-too-new",
        FaultClass::Failed,
        "the installed sshd cannot read a key of this type",
        "Upgrade OpenSSH on the node, or publish a key of another type.",
    ),
    row(
        FaultCode::TooFewKeys,
        "too-few-keys",
        FaultClass::Failed,
        "the document has fewer keys for this account than `[policy] min_keys` requires",
        "Publish more keys for the account, or lower `min_keys`. The account's last key set stays in force.",
    ),
    row(
        FaultCode::TooManyRemovals,
        "too-many-removals",
        FaultClass::Failed,
        "the document would remove more keys than `[policy] max_removals` allows",
        "Publish in smaller steps, or raise `max_removals`. The account's last key set stays in force.",
    ),
    row(
        FaultCode::AccountUnknown,
        "account-unknown",
        FaultClass::Failed,
        "there is no such account, or its name cannot be used",
        "Create the account, or remove it from the configuration.",
    ),
    row(
        FaultCode::AccountLookupFailed,
        "account-lookup-failed",
        FaultClass::Failed,
        "the name service did not answer",
        "Check nsswitch.conf and the directory service (`getent passwd USER`).",
    ),
    row(
        FaultCode::AccountDenied,
        "account-denied",
        FaultClass::Denied,
        "this user may not write another account's file",
        "Run authkeysd as root or as the account.",
    ),
    row(
        FaultCode::IdentityFailed,
        "identity-failed",
        FaultClass::Failed,
        "the kernel did not let authkeysd act as the account",
        "Give the service CAP_SETUID and CAP_SETGID, as its unit does.",
    ),
    row(
        FaultCode::FileShared,
        "file-shared",
        FaultClass::Failed,
        "several accounts have the same file",
        "Give each account a file of its own.",
    ),
    row(
        FaultCode::FileMisplaced,
        "file-misplaced",
        FaultClass::Failed,
        "the account's file cannot be where the configuration puts it",
        "Correct `file` or `layout`, or the account's home.",
    ),
    row(
        FaultCode::FileContended,
        "file-contended",
        FaultClass::Failed,
        "another program keeps writing the file, which was left unchanged",
        "Find the other program and stop it.",
    ),
    row(
        FaultCode::RivalWriter,
        "rival-writer",
        FaultClass::Failed,
        "another program repeatedly undoes authkeysd's changes",
        "Stop it (a cron job that fetches keys, or a configuration tool), or remove the account from the configuration.",
    ),
    row(
        FaultCode::StepHung,
        "step-hung",
        FaultClass::Failed,
        "a step on the account's file did not end in time",
        "Check the network file system that the home is on. Other accounts are served meanwhile.",
    ),
    row(
        FaultCode::ThreadFailed,
        "thread-failed",
        FaultClass::Failed,
        "a thread could not be started, or died",
        "Raise the limits on tasks and memory.",
    ),
    row(
        FaultCode::PathUnsafe,
        "path-unsafe",
        FaultClass::Failed,
        "something on the path to the file is not safe to follow",
        "Replace the link, the special file or the directory that the message names.",
    ),
    row(
        FaultCode::FileUnreadable,
        "file-unreadable",
        FaultClass::Failed,
        "the account cannot read its own file",
        "Find out who changed its owner or mode, then run the command in the message.",
    ),
    row(
        FaultCode::FileTooLarge,
        "file-too-large",
        FaultClass::Failed,
        "the file is larger than 1 MiB",
        "Check that it is the right file.",
    ),
    row(
        FaultCode::FileFlagged,
        "file-flagged",
        FaultClass::Failed,
        "the file or its directory is immutable or append-only",
        "Run the `chattr` command in the message.",
    ),
    row(
        FaultCode::FileLocked,
        "file-locked",
        FaultClass::Failed,
        "another program holds the lock of update-ssh-keys",
        "Find out whether an update-ssh-keys hangs.",
    ),
    row(
        FaultCode::HomeHidden,
        "home-hidden",
        FaultClass::Failed,
        "root's home is not in the service's sandbox",
        "Run `systemctl restart authkeysd`.",
    ),
    row(
        FaultCode::FileSystem,
        "file-system",
        FaultClass::Failed,
        "the operating system refused an operation on the file",
        "Do what the message says about the cause: a full disk, a quota, a read-only mount, a denied permission.",
    ),
    row(
        FaultCode::ProgramFailed,
        "program-failed",
        FaultClass::Failed,
        "a program that authkeysd started failed",
        "Fix what the program says. The next cycle tries again.",
    ),
    row(
        FaultCode::FragmentsBlocked,
        "fragments-blocked",
        FaultClass::Failed,
        "something in `authorized_keys.d` would make update-ssh-keys fail or hang",
        "Move it away.",
    ),
    row(
        FaultCode::FragmentsIncomplete,
        "fragments-incomplete",
        FaultClass::Failed,
        "update-ssh-keys did not do all of its work",
        "Do what the message says. authkeysd wrote `authorized_keys` itself.",
    ),
    row(
        FaultCode::FetchOverdue,
        "fetch-overdue",
        FaultClass::Failed,
        "no source was asked although a fetch was due",
        "Publish fewer windows: they leave no time for a fetch.",
    ),
    row(
        FaultCode::CycleNotBegun,
        "cycle-not-begun",
        FaultClass::Failed,
        "the cycle could not start",
        "Raise the limits on tasks and memory.",
    ),
    row(
        FaultCode::FileNotRead,
        "file-not-read",
        FaultClass::Failed,
        "sshd reads other files than the one that authkeysd writes",
        "Set AuthorizedKeysFile in sshd's configuration, or `file` here.",
    ),
    row(
        FaultCode::ReportFailed,
        "report-failed",
        FaultClass::Failed,
        "a report could not be sent; the keys are not affected",
        "Do what the message says. authkeysd tries again.",
    ),
    row(
        FaultCode::CyclePanicked,
        "cycle-panicked",
        FaultClass::Failed,
        "a defect of authkeysd ended the cycle",
        "Report it as a bug, with the lines of the log before it. The next cycle runs as scheduled.",
    ),
    row(
        FaultCode::StatusNotWritten,
        "status-not-written",
        FaultClass::Failed,
        "status.json could not be written; the keys are not affected",
        "Do what the message says. `authkeysd status` shows an older cycle until then.",
    ),
];

const fn row(
    code: FaultCode,
    name: &'static str,
    class: FaultClass,
    meaning: &'static str,
    remedy: &'static str,
) -> Explanation {
    Explanation { code, name, class, meaning, remedy }
}

impl FaultCode {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.code)
    }

    /// What it means.
    pub fn explanation(self) -> &'static Explanation {
        // The table has a row for each number, as its length and a test say.
        let [first, ..] = &TABLE;
        TABLE.get(usize::from(self.number() - 1)).unwrap_or(first)
    }

    /// Reads `AK` and three digits.
    pub fn parse(text: &str) -> Option<Self> {
        Self::all().find(|code| code.to_string() == text)
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
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(usize::from(row.code.number()), index + 1, "{}", row.name);
            assert_eq!(row.code.explanation(), row);
            assert_eq!(FaultCode::parse(&row.code.to_string()), Some(row.code));
        }
        assert_eq!(TABLE.iter().map(|row| row.name).collect::<BTreeSet<_>>().len(), TABLE.len());
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
        assert!(["AK000", "AK54", "ak001", "AK999", ""].iter().all(|text| FaultCode::parse(text).is_none()));
    }

    #[test]
    fn a_meaning_is_a_clause_and_a_remedy_is_sentences() {
        for row in &TABLE {
            assert!(!row.meaning.ends_with('.') && row.remedy.ends_with('.'), "{}", row.name);
            assert!(row.remedy.starts_with(|c: char| c.is_ascii_uppercase()), "{}", row.name);
        }
    }
}
