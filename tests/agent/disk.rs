//! A disk that can lose its power, under a real file system of the kernel.
//!
//! One file of a FUSE file system is the disk. It logs, in order, what the kernel writes to it and
//! when the kernel wants that flushed. A loop device makes it a block device. Afterwards each state
//! that a loss of power could have left is rebuilt from the log as an image, mounted (which
//! recovers the journal) and judged.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use authkeys_testing::run;
use fuser::{
    FileAttr, FileType, Filesystem, MountOption, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, consts::FOPEN_DIRECT_IO,
};
use rustix::io::Errno;

/// How a file system is made and mounted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) make: &'static [&'static str],
    pub(crate) mount: &'static str,
    pub(crate) megabytes: usize,
}

/// What was tried, and what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) states: usize,
    pub(crate) faults: Vec<String>,
}

#[derive(Debug)]
enum Event {
    Write(usize, Vec<u8>),
    Flush,
    /// From here on this version, or a later one, has to survive.
    Promise(u32),
}

/// The disk as it runs, and what happened to it.
#[derive(Debug)]
pub(crate) struct Disk {
    content: Vec<u8>,
    events: Vec<Event>,
}

struct OneFile(Arc<Mutex<Disk>>);

const DISK: u64 = 2;
const FOR_EVER: Duration = Duration::from_secs(3_600);
const CHUNK: usize = 65_536;
/// Random selections of the writes that one flush waits for: the disk may have done any of them.
const SELECTIONS: usize = 4;

impl OneFile {
    fn attributes(&self, inode: u64) -> FileAttr {
        let (kind, size) = match inode {
            DISK => (
                FileType::RegularFile,
                self.0.lock().unwrap().content.len() as u64,
            ),
            _ => (FileType::Directory, 0),
        };
        let time = SystemTime::UNIX_EPOCH;
        FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4_096,
            flags: 0,
        }
    }
}

impl Filesystem for OneFile {
    fn lookup(&mut self, _: &Request<'_>, _: u64, name: &OsStr, reply: ReplyEntry) {
        match name == "disk" {
            true => reply.entry(&FOR_EVER, &self.attributes(DISK), 0),
            false => reply.error(Errno::NOENT.raw_os_error()),
        }
    }

    fn getattr(&mut self, _: &Request<'_>, inode: u64, _: Option<u64>, reply: ReplyAttr) {
        reply.attr(&FOR_EVER, &self.attributes(inode));
    }

    fn open(&mut self, _: &Request<'_>, _: u64, _: i32, reply: ReplyOpen) {
        reply.opened(1, FOPEN_DIRECT_IO);
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        _: u64,
        _: u64,
        offset: i64,
        size: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        let disk = self.0.lock().unwrap();
        let begin = (offset as usize).min(disk.content.len());
        let end = (begin + size as usize).min(disk.content.len());
        reply.data(&disk.content[begin..end]);
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        _: u64,
        _: u64,
        offset: i64,
        data: &[u8],
        _: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        let mut disk = self.0.lock().unwrap();
        let begin = offset as usize;
        disk.content[begin..begin + data.len()].copy_from_slice(data);
        disk.events.push(Event::Write(begin, data.to_vec()));
        reply.written(data.len() as u32);
    }

    fn fsync(&mut self, _: &Request<'_>, _: u64, _: u64, _: bool, reply: ReplyEmpty) {
        self.0.lock().unwrap().events.push(Event::Flush);
        reply.ok();
    }

    fn flush(&mut self, _: &Request<'_>, _: u64, _: u64, _: u64, reply: ReplyEmpty) {
        reply.ok();
    }
}

/// Runs `work` on a fresh file system. It promises versions as they become durable; `judge` then
/// looks at every state after the first promise and is told the last version that was promised
/// before it. Needs mounts of its own.
pub(crate) fn lose_power(
    kind: Kind,
    work: impl FnOnce(&Path, &dyn Fn(u32)),
    judge: impl Fn(&Path, u32) -> Result<(), String>,
) -> Report {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let (fuse, root, image) = (
        directory.path().join("fuse"),
        directory.path().join("root"),
        directory.path().join("image"),
    );
    fs::create_dir(&fuse).unwrap();
    fs::create_dir(&root).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();

    File::create(&image)
        .unwrap()
        .set_len((kind.megabytes << 20) as u64)
        .unwrap();
    run(
        &format!("mkfs.{}", kind.name),
        &[kind.make, &[image.to_str().unwrap()]].concat(),
    );
    let start = fs::read(&image).unwrap();
    let disk = Arc::new(Mutex::new(Disk {
        content: start.clone(),
        events: Vec::new(),
    }));
    let options = [MountOption::FSName("power-loss".to_owned())];
    let session = fuser::spawn_mount2(OneFile(disk.clone()), &fuse, &options).unwrap();
    {
        let device = Device::of(&fuse.join("disk"));
        run(
            "mount",
            &[
                "-t",
                kind.name,
                "-o",
                kind.mount,
                &device.0,
                root.to_str().unwrap(),
            ],
        );
        work(&root, &|version| {
            disk.lock().unwrap().events.push(Event::Promise(version))
        });
        run("umount", &[root.to_str().unwrap()]);
    }
    drop(session);
    // The loop device may let go of the disk a moment late, and the session then leaves its mount:
    // nothing may stay.
    let _ = Command::new("umount")
        .args(["--lazy", "--quiet"])
        .arg(&fuse)
        .status();
    let events = std::mem::take(&mut disk.lock().unwrap().events);
    replay(kind, &events, start, &image, &root, judge)
}

/// A loop device; detached at the end, also of a test that fails.
struct Device(String);

impl Device {
    fn of(file: &Path) -> Self {
        let arguments = ["--find", "--show", "--direct-io=on"];
        let output = Command::new("losetup")
            .args(arguments)
            .arg(file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        Self(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

/// Rebuilds and judges: at each event everything written so far, nothing since the last flush, and
/// some in between.
fn replay(
    kind: Kind,
    events: &[Event],
    mut durable: Vec<u8>,
    image: &Path,
    root: &Path,
    judge: impl Fn(&Path, u32) -> Result<(), String>,
) -> Report {
    let mut report = Report::default();
    let mut seen = HashSet::new();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut used: BTreeSet<usize> = (0..durable.len().div_ceil(CHUNK))
        .filter(|chunk| {
            durable[span(*chunk, durable.len())]
                .iter()
                .any(|byte| *byte != 0)
        })
        .collect();
    let (mut pending, mut promised, mut epoch) = (Vec::<(usize, &[u8])>::new(), None, 0);
    for event in events {
        let mut states = vec![pending.clone(), Vec::new()];
        match event {
            Event::Promise(version) => promised = Some(*version),
            Event::Write(offset, data) => {
                pending.push((*offset, data));
                states.push(pending.clone());
            }
            Event::Flush => {
                for _ in 0..SELECTIONS {
                    states.push(
                        pending
                            .iter()
                            .filter(|_| coin(&mut random))
                            .copied()
                            .collect(),
                    );
                }
            }
        }
        for writes in states {
            let Some(version) = promised else { break };
            let mut hasher = DefaultHasher::new();
            (epoch, version, &writes).hash(&mut hasher);
            if seen.insert(hasher.finish()) {
                report.states += 1;
                build(image, &durable, &used, &writes);
                let options = format!("loop,{}", kind.mount);
                run(
                    "mount",
                    &[
                        "-t",
                        kind.name,
                        "-o",
                        &options,
                        image.to_str().unwrap(),
                        root.to_str().unwrap(),
                    ],
                );
                report.faults.extend(judge(root, version).err());
                run("umount", &[root.to_str().unwrap()]);
            }
        }
        if let Event::Flush = event {
            epoch += 1;
            for (offset, data) in pending.drain(..) {
                used.extend(offset / CHUNK..=(offset + data.len() - 1) / CHUNK);
                durable[offset..offset + data.len()].copy_from_slice(data);
            }
        }
    }
    report
}

fn span(chunk: usize, length: usize) -> std::ops::Range<usize> {
    chunk * CHUNK..((chunk + 1) * CHUNK).min(length)
}

fn build(image: &Path, durable: &[u8], used: &BTreeSet<usize>, writes: &[(usize, &[u8])]) {
    let file = File::create(image).unwrap();
    file.set_len(durable.len() as u64).unwrap();
    for chunk in used {
        file.write_all_at(
            &durable[span(*chunk, durable.len())],
            (chunk * CHUNK) as u64,
        )
        .unwrap();
    }
    for (offset, data) in writes {
        file.write_all_at(data, *offset as u64).unwrap();
    }
}

/// The same tosses in every run.
fn coin(state: &mut u64) -> bool {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state & 1 == 1
}
