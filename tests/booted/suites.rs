//! The Debian releases on which each package test runs, and what is different in their systemd.

/// One Debian release.
#[derive(Debug)]
pub(crate) struct Suite {
    /// Its name, as mmdebstrap takes it.
    pub(crate) name: &'static str,
    /// The version of its systemd.
    pub(crate) systemd: u32,
    /// What its systemd does not know of our units, and ignores with a warning.
    pub(crate) unknown: &'static [&'static str],
    /// `ProtectHome=` as it is in effect.
    pub(crate) protect_home: &'static str,
    /// The exposure of authkeysd.service and of authkeysd-fetch.service by `systemd-analyze
    /// security`, in tenths, as measured: a change that opens a sandbox shows on each release.
    pub(crate) exposure: [u32; 2],
}

/// OpenSSH 8.4.
pub(crate) const DEBIAN_11: Suite = Suite {
    name: "bullseye",
    systemd: 247,
    unknown: &["PrivateIPC"],
    protect_home: "tmpfs",
    exposure: [11, 10],
};

/// OpenSSH 9.2.
pub(crate) const DEBIAN_12: Suite = Suite {
    name: "bookworm",
    systemd: 252,
    unknown: &[],
    protect_home: "tmpfs",
    exposure: [11, 10],
};

/// OpenSSH 10.0, whose sshd consists of several programs. In this systemd `ProtectHome=tmpfs` makes
/// homes read-only, so the generator turns it off.
pub(crate) const DEBIAN_13: Suite = Suite {
    name: "trixie",
    systemd: 257,
    unknown: &[],
    protect_home: "no",
    exposure: [13, 10],
};
