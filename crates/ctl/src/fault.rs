//! Failed calls, as the commands report them. The remedies in a fault refer to a node's configuration.

use super::{Exit, complain};
use authkeys_core::origin::FetchError;

/// Reports why a call failed.
pub(super) fn failed(fault: &FetchError) -> Exit {
    complain(&described_fault(fault));
    fault.class.into()
}

/// A failed call, with the remedy reworded for publishers.
pub(super) fn described_fault(fault: &FetchError) -> String {
    let text = fault.with_code();
    text.replace("`source`", "the target")
        .replace("; the keys in force stay", "")
}
