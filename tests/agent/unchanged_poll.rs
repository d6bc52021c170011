//! A poll that finds nothing new decides nothing, and still sees whatever somebody changes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use authkeys_testing::{Service, Setup, eventually, lab, outcome_of};
use serde_json::Value;

use crate::memory_bound::key;

/// So many that reading the document can be told from not reading it.
const KEYS: usize = 1_000;

/// A running service, and what its account's file must be.
struct Node {
    setup: Setup,
    service: Service,
    file: PathBuf,
    right: Vec<u8>,
    owner: u32,
}

impl Node {
    fn start(setup: Setup) -> Self {
        let service = Service::start(&setup, |_| {});
        let file = PathBuf::from("/home/alice/.ssh/authorized_keys");
        let status = setup.runtime_dir().join("status.json");
        eventually("the first cycle", || status.exists());
        let right = fs::read(&file).unwrap();
        let owner = fs::metadata(&file).unwrap().uid();
        Self {
            setup,
            service,
            file,
            right,
            owner,
        }
    }

    fn status(&self) -> Value {
        let path = self.setup.runtime_dir().join("status.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    /// Waits for the end of a poll that begins after this moment.
    fn after_next_poll(&self) -> Value {
        let now = jiff::Timestamp::now();
        let begun = |status: &Value| -> jiff::Timestamp {
            status["started"].as_str().unwrap().parse().unwrap()
        };
        eventually("a poll", || begun(&self.status()) > now);
        self.status()
    }

    /// The bytes that the service reads from one poll to the next.
    fn read_in_a_poll(&self) -> usize {
        let read = || -> usize {
            let io = fs::read_to_string(format!("/proc/{}/io", self.service.pid())).unwrap();
            let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
            line.unwrap().parse().unwrap()
        };
        self.after_next_poll();
        let before = read();
        self.after_next_poll();
        read() - before
    }

    /// Waits until a poll reads the account's file and no document.
    fn until_idle(&self) {
        let most = self.right.len() + self.right.len() / 2;
        eventually("a poll that reads no document", || {
            self.read_in_a_poll() < most
        });
    }

    /// Whether the file is what it must be.
    #[track_caller]
    fn is_right(&self, what: &str) {
        let found = fs::symlink_metadata(&self.file).unwrap();
        assert!(fs::read(&self.file).unwrap() == self.right, "{what}");
        let state = (found.mode() & 0o7777, found.uid(), found.is_file());
        assert_eq!(state, (0o600, self.owner, true), "{what}");
    }
}

fn document(keys: std::ops::Range<usize>) -> String {
    keys.map(|number| format!("{} person{number}\n", key(number)))
        .collect()
}

/// A schedule of a second, one account, and keys pinned in a file.
fn setup() -> Setup {
    let mut setup = Setup::new().account("alice", "mode = \"exclusive\"");
    let pinned = setup.path("pinned");
    fs::write(&pinned, format!("{} pinned\n", key(KEYS))).unwrap();
    setup.top = format!("schedule = \"1s\"\npinned_keys = \"{}\"", pinned.display());
    setup.publish(document(0..KEYS));
    setup
}

/// Writes one byte of the file through a mapping, twice: the second time nothing tells of it until
/// the page is written back.
fn write_through_a_mapping(file: &Path) {
    let program = "import mmap, sys\n\
                   with open(sys.argv[1], 'r+b') as file:\n    \
                   view = mmap.mmap(file.fileno(), 0)\n    \
                   view[0:1] = view[0:1]\n    \
                   view[200:201] = b'!'\n";
    let mut python = Command::new("python3");
    let ran = python.args(["-c", program]).arg(file).status().unwrap();
    assert!(ran.success());
}

/// Puts the times of the last change of the content back.
fn set_back(file: &Path, to: &fs::Metadata) {
    let times = fs::FileTimes::new()
        .set_modified(to.modified().unwrap())
        .set_accessed(to.accessed().unwrap());
    let open = fs::File::options().write(true).open(file).unwrap();
    open.set_times(times).unwrap();
}

type Way = (&'static str, fn(&Path, &[u8]));

/// Every way in which a file comes to be another.
const WAYS: [Way; 11] = [
    ("a line more", |file, right| {
        fs::write(file, [right, key(5_000).as_bytes()].concat()).unwrap();
    }),
    ("a byte, size and time as they were", |file, right| {
        let before = fs::metadata(file).unwrap();
        let mut other = right.to_vec();
        other[200] ^= 1;
        fs::write(file, other).unwrap();
        set_back(file, &before);
    }),
    ("a byte, through a mapping", |file, _| {
        write_through_a_mapping(file);
    }),
    (
        "another file of that name, with its times",
        |file, right| {
            let before = fs::metadata(file).unwrap();
            let other = file.with_file_name("other");
            fs::write(&other, right.to_ascii_lowercase()).unwrap();
            set_back(&other, &before);
            fs::rename(other, file).unwrap();
        },
    ),
    ("by another name of it", |file, right| {
        let other = file.with_file_name("other");
        fs::hard_link(file, &other).unwrap();
        fs::write(&other, &right[..right.len() / 2]).unwrap();
        fs::remove_file(other).unwrap();
    }),
    ("emptied", |file, _| fs::write(file, "").unwrap()),
    ("removed", |file, _| fs::remove_file(file).unwrap()),
    ("another mode", |file, _| {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }),
    ("another owner", |file, _| {
        chown(file, Some(0), Some(0)).unwrap();
    }),
    ("its directory moved away", |file, _| {
        let directory = file.parent().unwrap();
        fs::rename(directory, "/home/alice/away").unwrap();
    }),
    ("unreadable", |file, _| {
        fs::set_permissions(file, fs::Permissions::from_mode(0o0)).unwrap();
    }),
];

#[test]
fn f62_whatever_changes_an_accounts_file_is_put_right_at_the_next_poll() {
    lab(|| {
        let node = Node::start(setup());
        for (way, change) in WAYS {
            node.until_idle();
            change(&node.file, &node.right);
            node.after_next_poll();
            node.is_right(way);
        }
    });
}

#[test]
fn f37_sshd_is_looked_for_no_further_than_it_is() {
    lab(|| {
        let setup = setup();
        let (log, command) = (setup.path("trace"), setup.command());
        let mut traced = Command::new("strace");
        traced.args(["-f", "-qq", "-e", "trace=%file", "-o"]);
        traced.arg(&log).arg(command.get_program());
        traced.args(command.get_args()).arg("sync");
        outcome_of(&mut traced).succeeds();
        let calls = fs::read_to_string(log).unwrap();
        assert!(calls.contains("\"/usr/sbin/sshd\""), "{calls}");
        // It may be on a file server that does not answer.
        assert!(!calls.contains("/usr/local/sbin"), "{calls}");
    });
}

#[test]
fn f62_what_an_idle_poll_goes_by_is_looked_at_every_time() {
    lab(|| {
        let node = Node::start(setup());
        let has = |number: usize| {
            fs::read_to_string(&node.file)
                .unwrap()
                .contains(&key(number))
        };

        node.until_idle();
        let pinned = node.setup.path("pinned");
        fs::write(&pinned, format!("{} pinned\n", key(KEYS + 1))).unwrap();
        node.after_next_poll();
        assert!(has(KEYS + 1) && !has(KEYS), "the pinned keys");

        let target = node.setup.path("pinned-elsewhere");
        fs::rename(&pinned, &target).unwrap();
        symlink(&target, &pinned).unwrap();
        node.until_idle();
        fs::write(&target, format!("{} pinned\n", key(KEYS + 2))).unwrap();
        node.after_next_poll();
        assert!(has(KEYS + 2) && !has(KEYS + 1), "what a link leads to");

        node.until_idle();
        fs::set_permissions(&pinned, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(
            node.after_next_poll()["status"],
            "degraded",
            "they can be written"
        );
        fs::set_permissions(&pinned, fs::Permissions::from_mode(0o644)).unwrap();

        node.until_idle();
        let kept = fs::read_dir(node.setup.state_dir().join("documents")).unwrap();
        for entry in kept {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let status = node.after_next_poll();
        assert_eq!(status["status"], "ok", "a kept document: {status}");
        let kept = fs::read_dir(node.setup.state_dir().join("documents")).unwrap();
        assert_eq!(kept.count(), 1, "it is kept again");

        node.until_idle();
        node.setup.publish(document(1..KEYS));
        node.after_next_poll();
        assert!(!has(0), "another document");

        node.until_idle();
        let open = fs::Permissions::from_mode(0o777);
        let directory = node.setup.path("");
        fs::set_permissions(&directory, open).unwrap();
        let status = node.after_next_poll();
        let warned = status["sources"][0]["warnings"].to_string();
        assert!(warned.contains("others can write it"), "{status}");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();

        let groups = fs::read_to_string("/etc/group").unwrap();
        fs::write("/etc/group", format!("{groups}keys:x:4242:alice\n")).unwrap();
        chown("/home/alice", Some(0), Some(4242)).unwrap();
        fs::set_permissions("/home/alice", fs::Permissions::from_mode(0o750)).unwrap();
        assert_eq!(node.after_next_poll()["status"], "ok");
        node.until_idle();
        fs::write("/etc/group", groups).unwrap();
        let status = node.after_next_poll();
        assert_eq!(status["status"], "failed", "the account's groups: {status}");
        chown("/home/alice", Some(node.owner), None).unwrap();

        node.until_idle();
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        fs::create_dir("/home/moved").unwrap();
        chown("/home/moved", Some(node.owner), None).unwrap();
        fs::write("/etc/passwd", passwd.replace("/home/alice", "/home/moved")).unwrap();
        node.after_next_poll();
        assert!(
            Path::new("/home/moved/.ssh/authorized_keys").exists(),
            "another home"
        );
    });
}
