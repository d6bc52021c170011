//! Loss of power at any moment: on real ext4 and xfs every state that the disk could be in is
//! mounted and looked at.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use authkeys_testing::{STRANGER, has, skipped, with_own_mounts};
use authkeysd::host::{Replaced, write_durable};

use crate::disk::{Kind, Report, lose_power};
use crate::home::*;

const VERSIONS: u32 = 8;
const LENGTH: usize = 10_000;
const WITHOUT_JOURNAL_DELAY: &[&str] = &[
    "-q",
    "-b",
    "4096",
    "-J",
    "size=4",
    "-E",
    "lazy_itable_init=0,lazy_journal_init=0,nodiscard",
];

/// ext4 by default forgives a rename without fsync (`auto_da_alloc`); a node's file system may not.
const EXT4: Kind = Kind {
    name: "ext4",
    make: WITHOUT_JOURNAL_DELAY,
    mount: "noauto_da_alloc",
    megabytes: 16,
};
const XFS: Kind = Kind {
    name: "xfs",
    make: &["-q", "-K"],
    mount: "nouuid",
    megabytes: 300,
};

fn keys(version: u32) -> Vec<u8> {
    let mut keys = format!("{version:08}").into_bytes();
    keys.resize(LENGTH - 1, b'a' + (version % 26) as u8);
    keys.push(b'\n');
    keys
}

fn can_lose_power(kind: Kind) -> bool {
    if !Path::new("/dev/fuse").exists() || !Path::new("/dev/loop-control").exists() {
        skipped("it needs FUSE and loop devices");
        return false;
    }
    has(&["losetup", "mount", "umount", &format!("mkfs.{}", kind.name)])
}

/// Something else that makes the file system write, with all its metadata half done.
fn noise(root: &Path, version: u32) {
    let mut file = File::create(root.join("noise")).unwrap();
    file.write_all(&vec![b'x'; 100 * version as usize]).unwrap();
    file.sync_all().unwrap();
}

/// The version that is there, if it is complete.
fn version_of(path: &Path, promised: u32) -> Result<(), String> {
    let found = fs::read(path).map_err(|fault| format!("gone: {fault}"))?;
    let version = found
        .get(..8)
        .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    match version {
        Some(version) if found != keys(version) => Err(format!("torn: {version}")),
        Some(version) if version < promised => {
            Err(format!("lost: it is {version}, {promised} was promised"))
        }
        Some(_) => Ok(()),
        None => Err(format!("torn: {} bytes", found.len())),
    }
}

fn survives(report: &Report) {
    eprintln!("{} states after a loss of power", report.states);
    assert!(report.states > 20, "only {} states", report.states);
    assert!(
        report.faults.is_empty(),
        "{} of {}: {:?}",
        report.faults.len(),
        report.states,
        report.faults.first()
    );
}

/// The account's file, from the moment that its directory does not exist yet.
fn file_of_an_account(kind: Kind) -> Report {
    lose_power(
        kind,
        |root, promise| {
            let home = Home::below(root);
            File::open(root).unwrap().sync_all().unwrap();
            for version in 0..VERSIONS {
                assert_eq!(home.sync(&keys(version)).unwrap(), Replaced::Done);
                promise(version);
                noise(root, version);
            }
        },
        |root, promised| {
            let home = Home::at(root);
            version_of(&home.file(), promised)?;
            let found = fs::metadata(home.file()).map_err(|fault| fault.to_string())?;
            match (found.uid(), found.gid(), found.mode() & 0o7777) {
                (STRANGER, STRANGER, 0o600) => Ok(()),
                other => Err(format!("owner or mode: {other:?}")),
            }
        },
    )
}

#[test]
fn f01_a_loss_of_power_on_ext4_leaves_the_old_file_or_the_new_one() {
    with_own_mounts(|| {
        if can_lose_power(EXT4) {
            survives(&file_of_an_account(EXT4));
        }
    });
}

#[test]
fn f01_a_loss_of_power_on_xfs_leaves_the_old_file_or_the_new_one() {
    with_own_mounts(|| {
        if can_lose_power(XFS) {
            survives(&file_of_an_account(XFS));
        }
    });
}

#[test]
fn f01_a_loss_of_power_leaves_our_own_state_whole() {
    with_own_mounts(|| {
        if can_lose_power(EXT4) {
            survives(&lose_power(
                EXT4,
                |root, promise| {
                    for version in 0..VERSIONS {
                        write_durable(root, "state", &keys(version), 0o600).unwrap();
                        promise(version);
                        noise(root, version);
                    }
                },
                |root, promised| version_of(&root.join("state"), promised),
            ));
        }
    });
}

/// A writer as many have it: rename without any fsync. The disk must show what becomes of it, or it
/// proves nothing.
fn careless(path: PathBuf, content: &[u8]) {
    fs::write(path.with_extension("new"), content).unwrap();
    fs::rename(path.with_extension("new"), path).unwrap();
}

#[test]
fn f01_the_disk_shows_what_becomes_of_a_rename_without_fsync() {
    with_own_mounts(|| {
        for kind in [EXT4, XFS] {
            if !can_lose_power(kind) {
                continue;
            }
            let report = lose_power(
                kind,
                |root, promise| {
                    careless(root.join("keys"), &keys(0));
                    rustix::fs::sync();
                    for version in 1..VERSIONS {
                        promise(version - 1);
                        careless(root.join("keys"), &keys(version));
                        promise(version);
                        noise(root, version);
                    }
                },
                |root, promised| version_of(&root.join("keys"), promised),
            );
            assert!(
                report.faults.iter().any(|fault| fault.starts_with("lost")),
                "{} {report:?}",
                kind.name
            );
            assert!(
                report.faults.iter().any(|fault| fault.starts_with("torn")),
                "{} {report:?}",
                kind.name
            );
        }
    });
}
