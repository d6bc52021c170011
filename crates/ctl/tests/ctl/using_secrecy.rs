//! Where the private key of `authkeysctl ssh` and `agent` is not: on the disk, in an argument, in
//! the environment, in the memory of any process but those of OpenSSH, in a core dump.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use authkeys_testing::{Key, copy_for_all, eventually, lab, program, stand_in};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::using::{pair, prepared, processes, with_bench};

const ALICE: u32 = 60_001;
const SECRET: &str = "prod/ssh/workers";

/// What tells a private key: a line of its text, and the bytes that an Ed25519 key is made of.
fn marks(key: &Key) -> Vec<Vec<u8>> {
    marks_of(&fs::read_to_string(key.private()).unwrap(), key.base64())
}

/// The same of an Ed25519 key's text, and its public half in base64.
pub(crate) fn marks_of(text: &str, public: &str) -> Vec<Vec<u8>> {
    let body: Vec<&str> = text.lines().filter(|line| !line.starts_with('-')).collect();
    let blob = BASE64_STANDARD.decode(body.concat()).unwrap();
    let public = BASE64_STANDARD.decode(public).unwrap();
    // The seed comes before the second copy of the public key, both in one string of 64 bytes.
    let public = &public[public.len() - 32..];
    let places: Vec<usize> = (0..blob.len() - 32)
        .filter(|at| &blob[*at..at + 32] == public)
        .collect();
    let seed = blob[places[2] - 32..places[2]].to_vec();
    vec![body[body.len() - 2].as_bytes().to_vec(), seed]
}

/// How often a text is in the writable memory of a process.
pub(crate) fn copies(pid: i32, mark: &[u8]) -> usize {
    let Ok(memory) = File::open(format!("/proc/{pid}/mem")) else {
        return 0;
    };
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mut copies = 0;
    for map in maps.lines() {
        let mut words = map.split(' ');
        let (range, rights) = (words.next().unwrap(), words.next().unwrap_or_default());
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|hex| u64::from_str_radix(hex, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            copies += count(&bytes, mark);
        }
    }
    copies
}

fn count(bytes: &[u8], mark: &[u8]) -> usize {
    bytes
        .windows(mark.len())
        .filter(|window| *window == mark)
        .count()
}

/// The files below a directory that hold a mark.
fn files_with(directory: &Path, mark: &[u8], found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            files_with(&path, mark, found);
        } else if kind.is_file() && count(&fs::read(&path).unwrap_or_default(), mark) > 0 {
            found.push(path.display().to_string());
        }
    }
}

/// Where a mark is: in which files, arguments, environments, and memories.
pub(crate) fn places(mark: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for directory in ["/tmp", "/run", "/home", "/var/lib", "/dev/shm", "/var/tmp"] {
        files_with(Path::new(directory), mark, &mut found);
    }
    let own = i32::try_from(std::process::id()).unwrap();
    for (pid, line) in processes() {
        for name in ["cmdline", "environ"] {
            let file = format!("/proc/{pid}/{name}");
            if count(&fs::read(&file).unwrap_or_default(), mark) > 0 {
                found.push(format!("{file} of {line}"));
            }
        }
        // This test and the stand-in of AWS know the key; ssh-agent is what shall have it.
        let knows = pid == own || line.contains("python") || line.starts_with("ssh-agent");
        if !knows && copies(pid, mark) > 0 {
            found.push(format!("the memory of {pid}: {line}"));
        }
    }
    found
}

/// The companion as alice runs it, with `text` as the shell command that gets the agent.
fn started(endpoint: &str, path: &str, text: &str) -> Child {
    let copy = Path::new("/run/lab/authkeysctl");
    if !copy.exists() {
        copy_for_all(&program("authkeysctl"), copy);
    }
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -S -c \"$(ulimit -H -c)\"; exec \"$0\" \"$@\""])
        .arg(copy)
        .env_clear()
        .envs(stand_in(endpoint))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("PATH", path)
        .env("HOME", "/home/alice")
        .env("CONTROL", "this is found")
        .args(["agent", "--secret", SECRET, "--", "sh", "-c", text])
        .current_dir("/")
        .uid(ALICE)
        .gid(ALICE)
        .stdin(Stdio::null());
    command.spawn().unwrap()
}

/// The largest core dump that a process may leave, and the largest that it may ask for.
pub(crate) fn limits_of_cores(pid: u32) -> [String; 2] {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core"))
        .unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    [words[4], words[5]].map(str::to_owned)
}

#[test]
fn the_private_key_is_on_no_disk_in_no_argument_in_no_environment_and_in_no_memory() {
    if !prepared() {
        return;
    }
    lab(|| {
        with_bench(|bench| {
            let key = Key::new("k");
            let marks = marks(&key);
            bench.create(SECRET, &pair(&key));
            fs::remove_file(key.private()).unwrap();
            // An ssh-add that takes its time, so that the moment before it can be looked at.
            let slow = Path::new("/run/lab/slow");
            fs::create_dir(slow).unwrap();
            let waiting = Path::new("/run/lab/slow/waiting");
            let script = "#!/bin/sh\nwhile [ -e /run/lab/slow/hold ]; do sleep 0.05; done\nexec /usr/bin/ssh-add \"$@\"\n";
            fs::write(slow.join("ssh-add"), script).unwrap();
            fs::set_permissions(slow.join("ssh-add"), fs::Permissions::from_mode(0o755)).unwrap();
            fs::write(slow.join("hold"), "").unwrap();
            fs::write("/run/lab/slow/found", "").unwrap();
            fs::set_permissions("/run/lab/slow/found", fs::Permissions::from_mode(0o666)).unwrap();
            assert!(!waiting.exists());

            let path = "/run/lab/slow:/usr/sbin:/usr/bin:/sbin:/bin";
            let text = "ssh-add -L > /run/lab/slow/found; exec sleep 600";
            let mut child = started(&bench.moto.endpoint(), path, text);
            eventually("ssh-add begins", || {
                processes()
                    .iter()
                    .any(|(_, line)| line.starts_with("/bin/sh /run/lab/slow/ssh-add"))
            });
            // The only copy is the one that is written to ssh-add.
            let pid = i32::try_from(child.id()).unwrap();
            eventually("one copy", || copies(pid, &marks[0]) <= 1);
            assert_eq!(copies(pid, &marks[1]), 0, "the key itself is never decoded");
            assert_eq!(limits_of_cores(child.id())[0], "0");
            // The kernel gives a process that leaves no core dump to root.
            assert_eq!(
                fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid(),
                0
            );

            fs::remove_file(slow.join("hold")).unwrap();
            eventually("the command has the key", || {
                fs::read_to_string("/run/lab/slow/found")
                    .unwrap()
                    .contains(key.base64())
            });
            eventually("the command runs", || {
                processes().contains(&(pid, "sleep 600 ".to_owned()))
            });
            for mark in &marks {
                assert_eq!(places(mark), Vec::<String>::new());
            }
            let seen = places(b"this is found");
            assert!(
                seen.iter().any(|place| place.contains("sleep 600")),
                "nothing was looked at: {seen:?}"
            );
            // What the command may do is as before.
            let [soft, hard] = limits_of_cores(child.id());
            assert_eq!(soft, hard);
            assert_eq!(
                fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid(),
                ALICE
            );

            child.kill().unwrap();
            child.wait().unwrap();
            eventually("the agent ends", || {
                !processes()
                    .iter()
                    .any(|(_, line)| line.starts_with("ssh-agent"))
            });
            for mark in &marks {
                assert_eq!(places(mark), Vec::<String>::new());
            }
        });
    });
}
