//! What the commands need to know about the machine and the program itself.

use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use authkeys_core::report::object;
use authkeys_terminal::bounded;

/// The most bytes of a time zone file; the longest have about 4 KB.
const MAX_ZONE: u64 = 1 << 16;

/// When the program was built.
pub(super) fn built() -> Timestamp {
    let seconds: i64 = env!("AUTHKEYSD_BUILT").parse().unwrap_or_default();
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The zone in which sshd reads times: the system's, whatever TZ is set to in the user's session.
pub(super) fn sshd_zone() -> TimeZone {
    let Ok(Some(file)) = bounded::read(Path::new("/etc/localtime"), MAX_ZONE) else {
        return TimeZone::UTC;
    };
    TimeZone::tzif("local", &file.content).unwrap_or(TimeZone::UTC)
}

/// The name of this node in reports if it is not an instance.
pub(super) fn host() -> object::ReportedNode {
    object::ReportedNode::host(&identity(), &host_name())
}

/// Identifies this node as long as no instance is known: the machine id, or else the host name.
pub(super) fn identity() -> String {
    let Ok(Some(file)) = bounded::read(Path::new("/etc/machine-id"), 256) else {
        return host_name();
    };
    let machine = String::from_utf8(file.content).unwrap_or_default();
    match machine.trim() {
        "" | "uninitialized" => host_name(),
        id => id.to_owned(),
    }
}

fn host_name() -> String {
    match nix::unistd::gethostname() {
        Ok(name) => name.to_string_lossy().into_owned(),
        Err(_) => String::new(),
    }
}
