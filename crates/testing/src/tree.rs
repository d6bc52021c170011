//! The state of a directory, including what only a write could change.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One entry of a directory: content (or a link's target), identity, owner, mode and times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// A file's content, or a link's target.
    pub content: Vec<u8>,
    /// Its inode.
    pub inode: u64,
    /// User and group.
    pub owner: (u32, u32),
    /// Type and permissions.
    pub mode: u32,
    /// When its content changed, in seconds and nanoseconds.
    pub modified: (i64, i64),
    /// When anything about it changed, in seconds and nanoseconds.
    pub changed: (i64, i64),
}

/// Everything at and below `root`, by path. If two trees are equal, nothing was written in between.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, TreeEntry> {
    let mut found = BTreeMap::new();
    visit(root, &mut found);
    found
}

/// Only the contents, without directories.
pub fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    tree(root)
        .into_iter()
        .filter(|(path, _)| !path.is_dir())
        .map(|(path, entry)| (path, entry.content))
        .collect()
}

fn visit(path: &Path, found: &mut BTreeMap<PathBuf, TreeEntry>) {
    let Ok(stat) = std::fs::symlink_metadata(path) else {
        return;
    };
    let content = match () {
        () if stat.is_symlink() => std::fs::read_link(path)
            .unwrap()
            .as_os_str()
            .as_bytes()
            .to_vec(),
        // Huge files are not read, and neither is anything but a regular file.
        () if stat.is_file() && stat.len() <= 1 << 22 => std::fs::read(path).unwrap(),
        () => Vec::new(),
    };
    let entry = TreeEntry {
        content,
        inode: stat.ino(),
        owner: (stat.uid(), stat.gid()),
        mode: stat.mode(),
        modified: (stat.mtime(), stat.mtime_nsec()),
        changed: (stat.ctime(), stat.ctime_nsec()),
    };
    found.insert(path.to_owned(), entry);
    if stat.is_dir() {
        let mut below: Vec<_> = std::fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        below.sort();
        below.iter().for_each(|path| visit(path, found));
    }
}
