//! The kinds of journal entries and their MESSAGE_IDs, which never change (docs/journal.md lists
//! them).

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The service has started.
    Started,
    /// The service is stopping.
    Stopping,
    /// Another configuration is in force.
    Reloaded,
    /// The new configuration is faulty; the old one remains in force.
    ReloadRefused,
    /// A new document is in force.
    DocumentAccepted,
    /// A document was rejected, for all accounts or for one.
    DocumentRefused,
    /// The document in force has expired.
    DocumentExpired,
    /// A source does not answer, or its answer is invalid.
    SourceFailed,
    /// The source answers again.
    SourceRecovered,
    /// A file has a new key.
    KeyAdded,
    /// A key was removed from a file.
    KeyRemoved,
    /// More removed keys than are named one by one.
    KeysRemoved,
    /// A key has other options, another comment or fewer copies.
    KeyUpdated,
    /// All keys of an account.
    KeysInForce,
    /// A change that another program made to a file was undone.
    DriftRepaired,
    /// Another program keeps changing the file.
    RivalWriter,
    /// An account's file is not as it should be.
    AccountFailed,
    /// An account's keys are in force, but something else is wrong.
    AccountDegraded,
    /// The account's file is as it should be again.
    AccountRecovered,
    /// sshd reads other files than the one that authkeysd writes.
    NotRead,
    /// A report of the node's status was not delivered.
    ReportFailed,
    /// Reports are delivered again.
    ReportRecovered,
    /// Something else is wrong with the node.
    Fault,
    /// Everything is as published, but an operator should take a look.
    Warning,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Started,
        Self::Stopping,
        Self::Reloaded,
        Self::ReloadRefused,
        Self::DocumentAccepted,
        Self::DocumentRefused,
        Self::DocumentExpired,
        Self::SourceFailed,
        Self::SourceRecovered,
        Self::KeyAdded,
        Self::KeyRemoved,
        Self::KeysRemoved,
        Self::KeyUpdated,
        Self::KeysInForce,
        Self::DriftRepaired,
        Self::RivalWriter,
        Self::AccountFailed,
        Self::AccountDegraded,
        Self::AccountRecovered,
        Self::NotRead,
        Self::ReportFailed,
        Self::ReportRecovered,
        Self::Fault,
        Self::Warning,
    ];

    /// The MESSAGE_ID to search for with `journalctl MESSAGE_ID=`.
    pub fn message_id(self) -> &'static str {
        self.row().0
    }

    /// The kind in words; the messages begin with it.
    pub fn words(self) -> &'static str {
        self.row().1
    }

    /// Whether an operator should look at it.
    pub fn is_warning(self) -> bool {
        self.row().2 == WARNING
    }

    /// MESSAGE_ID, words and priority.
    fn row(self) -> (&'static str, &'static str, u8) {
        match self {
            Self::Started => ("067a0e58aaa246559485965c52949fb4", "started", INFO),
            Self::Stopping => ("c0c18d20b27a4f11baa13067e8ca8912", "stopping", INFO),
            Self::Reloaded => (
                "49a48a3e79db4069b28546c02c2ff39a",
                "configuration reloaded",
                INFO,
            ),
            Self::ReloadRefused => (
                "beea11fbc6fa4b6eb2fd27689ab377af",
                "configuration refused",
                WARNING,
            ),
            Self::DocumentAccepted => (
                "793a4b617e6f492aaa065ccdc0ff62af",
                "document accepted",
                INFO,
            ),
            Self::DocumentRefused => (
                "202d0301f54d4632be4b2601e8af0859",
                "document refused",
                WARNING,
            ),
            Self::DocumentExpired => (
                "5212fb96908244429b319fde1bbedb15",
                "document expired",
                WARNING,
            ),
            Self::SourceFailed => ("2ad9c011b15d486ead9c234a68086c7a", "source failed", WARNING),
            Self::SourceRecovered => (
                "6e6192654b7340708e30dc558bbdeff1",
                "source is good again",
                INFO,
            ),
            Self::KeyAdded => ("4e87d06e879e478188eee4c27d8ab59c", "key added", INFO),
            Self::KeyRemoved => ("c0a438d12f754d2caac931e93fe2d3a8", "key removed", INFO),
            Self::KeysRemoved => (
                "dfd41c856baa4029aca685f140edb727",
                "more keys removed",
                INFO,
            ),
            Self::KeyUpdated => ("33be961a1ed8486c8f859ea2432d0cfe", "key updated", INFO),
            Self::KeysInForce => ("7bfefc2f3191453682f32f4d59db3b32", "keys in force", INFO),
            Self::DriftRepaired => (
                "e900498a826c4175b4ada289c599c306",
                "drift repaired",
                WARNING,
            ),
            Self::RivalWriter => ("e5f842166497476db36215ecbcb8e501", "rival writer", WARNING),
            Self::AccountFailed => (
                "d2aba209e0914d9ba34aec453a1ba0e4",
                "account failed",
                WARNING,
            ),
            Self::AccountDegraded => (
                "26ba7edc271d4d9fbcc43c5513669d90",
                "account degraded",
                WARNING,
            ),
            Self::AccountRecovered => (
                "db3375d314144e67a49c0eff7d456fff",
                "account is good again",
                INFO,
            ),
            Self::NotRead => (
                "ba0e8c8f93a94f2f9d1d54a2c2a2c5d7",
                "not read by sshd",
                WARNING,
            ),
            Self::ReportFailed => ("5c1f0b7e9d2a4f6c8e3b7a41d60f92b8", "report failed", WARNING),
            Self::ReportRecovered => (
                "e87d3a52c4b94c0fa6b1f2d9037c5e14",
                "report arrives again",
                INFO,
            ),
            Self::Fault => ("0f13c04e53be4965af87db5d3b8c0f6c", "fault", WARNING),
            Self::Warning => ("5b8e3a94d1f74c0bb6c2f09d7e41a836", "warning", WARNING),
        }
    }
}

/// A journal priority.
const WARNING: u8 = 4;
const INFO: u8 = 6;
