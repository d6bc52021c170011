//! Keys and the lines that carry them: what sshd reads, and what authkeysd is willing to write.

pub use blob::{BadBlob, Fingerprint, KeyBlob};
pub use fingerprints::FingerprintSet;
pub use line::{BadLine, Identified, KeyLine, LineRules, granted, identify};
pub use line::{Examination, check_text};
pub use material::{CHECKS, Weakness};
pub use mistake::Mistake;
pub use moduli::weak_moduli;
pub use options::dequote;
pub use options::{BadOption, OptionList, OptionPolicy, is_option_name};
pub use private::{BadPrivateKey, private_key};
pub use reader::Reader;
pub use scan::{cut_options, cut_word, looks_like_type};
pub use time::Expiry;
pub use time::standard_offset;

pub mod blob;
mod fingerprints;
pub mod line;
mod material;
mod mistake;
mod moduli;
pub mod options;
mod private;
mod reader;
mod scan;
pub mod time;
