//! A file system like one on a server that is down.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, Filesystem, ReplyAttr, ReplyEntry, Request};
use rustix::io::Errno;

/// The user to whom its root belongs.
const OWNER: u32 = 60_001;

/// Its root is there, and whoever looks below it waits until the server is up.
#[derive(Clone, Default)]
pub(crate) struct Dead(Arc<Mutex<(bool, Vec<ReplyEntry>)>>);

impl Dead {
    pub(crate) fn come_up(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        state
            .1
            .drain(..)
            .for_each(|reply| reply.error(Errno::NOENT.raw_os_error()));
    }
}

/// Brings the server up at the end, also of a test that fails: nothing waits for it for ever.
pub(crate) struct UpAtTheEnd(pub(crate) Dead);

impl Drop for UpAtTheEnd {
    fn drop(&mut self) {
        self.0.come_up();
    }
}

impl Filesystem for Dead {
    fn lookup(&mut self, _: &Request<'_>, _: u64, _: &OsStr, reply: ReplyEntry) {
        let mut state = self.0.lock().unwrap();
        match state.0 {
            true => reply.error(Errno::NOENT.raw_os_error()),
            false => state.1.push(reply),
        }
    }

    fn getattr(&mut self, _: &Request<'_>, _: u64, _: Option<u64>, reply: ReplyAttr) {
        let time = SystemTime::UNIX_EPOCH;
        let root = FileAttr {
            ino: 1,
            size: 0,
            blocks: 0,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: FileType::Directory,
            perm: 0o755,
            nlink: 2,
            uid: OWNER,
            gid: OWNER,
            rdev: 0,
            blksize: 4_096,
            flags: 0,
        };
        reply.attr(&Duration::from_secs(3_600), &root);
    }
}
