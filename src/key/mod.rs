//! Keys and the lines that carry them: what sshd reads, and what authkeysd is willing to write.

pub use blob::{BadBlob, Fingerprint, KeyBlob};
pub(crate) use line::is_hidden;
pub use line::{BadLine, Identified, KeyLine, LineRules, identify};
pub use options::{BadOption, Expiry, OptionList, OptionPolicy, is_option_name};

pub mod blob;
pub mod line;
pub mod options;
