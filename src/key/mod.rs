//! Keys and the lines that carry them: what sshd reads, and what authkeysd is willing to write.

pub(crate) use blob::Reader;
pub use blob::{BadBlob, Fingerprint, KeyBlob};
pub use fingerprints::FingerprintSet;
pub use line::{BadLine, Identified, KeyLine, LineRules, granted, identify};
pub(crate) use line::{check_text, cut_options, cut_word, looks_like_type};
pub(crate) use options::dequote;
pub use options::{BadOption, OptionList, OptionPolicy, is_option_name};
pub use time::Expiry;
pub(crate) use time::standard_offset;

pub mod blob;
mod fingerprints;
pub mod line;
pub mod options;
pub mod time;
