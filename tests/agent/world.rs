//! A host and a source made of memory, and an agent between them, with a real state directory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use authkeys_core::config::Config;
use authkeys_core::origin::{
    Class, Fetch, FetchError, Fetched, Part, SourceUrl, Stage, Version, Versions,
};
use authkeys_core::outcome::Outcome;
use authkeys_core::user::UserName;
use authkeysd::agent::{Agent, Intent};
use authkeysd::host::{
    Account, FoundFragments, Host, HostError, Place, Replaced, Snapshot, Stamp, Target,
};
use authkeysd::state::Store;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A source that says what the test wants; unchanged when the versions are known.
#[derive(Default)]
pub(crate) struct Published(
    pub(crate) RefCell<BTreeMap<String, Answer>>,
    /// The documents of further stages.
    pub(crate) RefCell<BTreeMap<String, BTreeMap<Stage, Part>>>,
    /// How many must be asked before one answers.
    pub(crate) Cell<usize>,
);

/// The version at which the source panics.
pub(crate) const PANICS: &str = "panics";

/// Version and text, or an error of a class.
pub(crate) type Answer = Result<(String, String), Class>;

impl Fetch for &Published {
    async fn fetch(
        &self,
        url: &SourceUrl,
        known: Option<&Versions>,
    ) -> Result<Fetched, FetchError> {
        let further = self
            .1
            .borrow()
            .get(&url.to_string())
            .cloned()
            .unwrap_or_default();
        self.2.set(self.2.get().saturating_sub(1));
        for waited in 0.. {
            if self.2.get() == 0 {
                break;
            }
            assert!(waited < 100, "{url} is asked alone");
            tokio::task::yield_now().await;
        }
        match self.0.borrow().get(&url.to_string()) {
            Some(Ok((version, _))) if version == PANICS => panic!("a value that nobody expected"),
            Some(Ok((version, bytes))) => {
                let current = part(version, None, bytes);
                let versions = further
                    .iter()
                    .map(|(stage, part)| (*stage, part.version.clone()))
                    .collect();
                let versions = Versions {
                    current: current.version.clone(),
                    further: versions,
                };
                let known = known.is_some_and(|known| *known == versions);
                Ok(if known {
                    Fetched::Unchanged
                } else {
                    Fetched::Documents { current, further }
                })
            }
            Some(Err(class)) => Err(FetchError {
                code: None,
                class: *class,
                message: format!("{url}: injected"),
                remedy: "none".to_owned(),
            }),
            None => Err(FetchError {
                code: None,
                class: Class::Missing,
                message: format!("{url}: none"),
                remedy: String::new(),
            }),
        }
    }
}

fn part(version: &str, created: Option<Timestamp>, text: &str) -> Part {
    let version = Version {
        label: version.to_owned(),
        token: version.to_owned(),
    };
    Part {
        version,
        created,
        bytes: text.as_bytes().to_vec().into(),
    }
}

/// A cell that threads can share.
#[derive(Default)]
pub(crate) struct Shared<T>(RwLock<T>);

impl<T> Shared<T> {
    pub(crate) fn borrow(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap()
    }

    pub(crate) fn borrow_mut(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap()
    }
}

/// A host whose files are a map; `meddle` runs before each replace, as another writer would.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) files: Shared<BTreeMap<PathBuf, (u64, Vec<u8>)>>,
    pub(crate) broken: Shared<Vec<PathBuf>>,
    pub(crate) meddle: Shared<Vec<(PathBuf, Vec<u8>)>>,
    /// Accounts that take their time: each is found, or its file read, when it is asked for once
    /// more.
    pub(crate) late: Shared<Vec<String>>,
    pub(crate) late_files: Shared<Vec<PathBuf>>,
    pub(crate) writes: Shared<usize>,
    /// What sshd says of its version, where it is not 9.2; `Some(None)`: nothing.
    pub(crate) sshd: Shared<Option<Option<(u32, u32)>>>,
    pub(crate) program: Shared<Program>,
    pub(crate) runs: Shared<usize>,
    /// How often the cycle said that it goes on.
    pub(crate) steps: Shared<usize>,
}

/// What stands in for update-ssh-keys.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Program {
    #[default]
    Absent,
    Works,
    /// Says that all is well, and has done nothing.
    Lies,
    Fails,
}

impl Memory {
    pub(crate) fn set(&self, path: &str, content: &str) {
        let mut files = self.files.borrow_mut();
        let version = files
            .get(&PathBuf::from(path))
            .map_or(0, |(version, _)| *version)
            + 1;
        files.insert(path.into(), (version, content.as_bytes().to_vec()));
    }

    /// The files of a directory.
    fn below(&self, directory: &Path) -> Vec<PathBuf> {
        self.files
            .borrow()
            .keys()
            .filter(|path| path.parent() == Some(directory))
            .cloned()
            .collect()
    }

    /// What the file holds, without the line that names the source.
    pub(crate) fn text(&self, path: &str) -> String {
        let whole = self.whole_text(path);
        whole
            .split_inclusive('\n')
            .filter(|line| !line.starts_with("# managed by authkeysd from "))
            .collect()
    }

    pub(crate) fn whole_text(&self, path: &str) -> String {
        self.files
            .borrow()
            .get(&PathBuf::from(path))
            .map(|(_, c)| String::from_utf8(c.clone()).unwrap())
            .unwrap_or_default()
    }
}

impl Host for &Memory {
    fn account(&self, user: Option<&UserName>) -> Result<Account, HostError> {
        let user = user
            .cloned()
            .unwrap_or_else(|| UserName::parse("me").unwrap());
        if user.as_str() == "ghost" {
            return Err(HostError::UnknownAccount {
                account: user.to_string(),
            });
        }
        let home = PathBuf::from("/home").join(if user.as_str() == "twin" {
            "a"
        } else {
            user.as_str()
        });
        // A directory service that knows accounts by a longer name too.
        let user = if user.as_str() == "jo" {
            UserName::parse("jo@example.org").unwrap()
        } else {
            user
        };
        Ok(Account {
            user,
            uid: 1,
            gid: 1,
            home,
        })
    }

    fn read(&self, target: &Target) -> Result<Snapshot, HostError> {
        let path = target.path();
        if self.broken.borrow().contains(&path) {
            return Err(HostError::Path {
                path,
                fault: "injected",
            });
        }
        let files = self.files.borrow();
        let found = files.get(&path);
        Ok(Snapshot {
            content: found.map(|(_, content)| content.clone()),
            drifted: false,
            stamp: found.map_or_else(Stamp::absent, |(version, _)| Stamp::of_version(*version)),
            // The homes of `link` and `a` are the same directory.
            directory: Some((
                1,
                if path.starts_with("/home/link") {
                    b'a'
                } else {
                    path.as_os_str().as_bytes()[6]
                }
                .into(),
            )),
        })
    }

    fn accounts(&self, users: &[Option<&UserName>]) -> Vec<Option<Result<Account, HostError>>> {
        let name = |user: Option<&UserName>| user.map(ToString::to_string).unwrap_or_default();
        users
            .iter()
            .map(|user| on_time(&self.late, &name(*user)).then(|| self.account(*user)))
            .collect()
    }

    fn read_all(&self, targets: &[&Target]) -> Vec<Option<Result<Snapshot, HostError>>> {
        targets
            .iter()
            .map(|target| on_time(&self.late_files, &target.path()).then(|| self.read(target)))
            .collect()
    }

    fn replace(
        &self,
        target: &Target,
        seen: &Stamp,
        content: &[u8],
    ) -> Result<Replaced, HostError> {
        let path = target.path();
        if let Some((path, content)) = self.meddle.borrow_mut().pop() {
            self.set(
                path.to_str().unwrap(),
                std::str::from_utf8(&content).unwrap(),
            );
        }
        let stamp = self
            .files
            .borrow()
            .get(&path)
            .map_or_else(Stamp::absent, |(version, _)| Stamp::of_version(*version));
        if stamp != *seen {
            return Ok(Replaced::ChangedMeanwhile);
        }
        self.set(
            path.to_str().unwrap(),
            std::str::from_utf8(content).unwrap(),
        );
        *self.writes.borrow_mut() += 1;
        Ok(Replaced::Done)
    }

    fn sshd_version(&self) -> Option<(u32, u32)> {
        self.sshd.borrow().unwrap_or(Some((9, 2)))
    }

    fn step(&self) {
        *self.steps.borrow_mut() += 1;
    }

    fn fragments(&self, target: &Target) -> Result<FoundFragments, HostError> {
        let snapshot = |path: PathBuf| {
            let place = Place::Home {
                below: path.strip_prefix(&target.account.home).unwrap().to_owned(),
            };
            self.read(&Target {
                place,
                ..target.clone()
            })
        };
        let (path, generated) = (target.path(), target.generated().path());
        let directory = path.parent().unwrap();
        let entries: Vec<PathBuf> = self.below(directory);
        let others = entries.iter().filter(|entry| **entry != path);
        let named = |entry: &PathBuf| entry.file_name().unwrap().to_str().unwrap().to_owned();
        Ok(FoundFragments {
            ours: snapshot(path.clone())?,
            others: others
                .map(|entry| (named(entry), snapshot(entry.clone()).unwrap()))
                .collect(),
            generated: snapshot(generated)?,
            obstacles: Vec::new(),
            exists: !entries.is_empty(),
            installed: *self.program.borrow() != Program::Absent,
        })
    }

    fn refresh(&self, target: &Target) -> Result<(), HostError> {
        *self.runs.borrow_mut() += 1;
        let (path, generated) = (target.path(), target.generated().path());
        match *self.program.borrow() {
            Program::Works => {}
            Program::Fails => {
                let (account, said) = (target.account.user.to_string(), "injected".to_owned());
                return Err(HostError::Program {
                    program: "update-ssh-keys",
                    account,
                    said,
                });
            }
            Program::Absent | Program::Lies => return Ok(()),
        }
        let directory = path.parent().unwrap();
        if self.below(directory).is_empty() {
            let old = self.text(generated.to_str().unwrap());
            self.set(
                directory.join("old_authorized_keys").to_str().unwrap(),
                &old,
            );
        }
        // As the real one: the fragments are written anew, comments, order and what it does not
        // know go.
        let mut all = vec!["# auto-generated by update-ssh-keys\n".to_owned()];
        for entry in self.below(directory) {
            let text = self.text(entry.to_str().unwrap());
            let keys = text
                .lines()
                .filter(|line| !line.starts_with('#') && !line.is_empty());
            let keys: Vec<String> = keys.map(|line| without_comment(line) + "\n").collect();
            self.set(entry.to_str().unwrap(), &keys.concat());
            all.extend(keys.into_iter().filter(|line| !line.contains('@')).rev());
        }
        self.set(generated.to_str().unwrap(), &all.concat());
        Ok(())
    }
}

fn on_time<T: PartialEq>(late: &Shared<Vec<T>>, asked: &T) -> bool {
    let mut late = late.borrow_mut();
    let found = late.iter().position(|one| one == asked);
    found.map(|at| late.remove(at)).is_none()
}

fn without_comment(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let blob = words
        .iter()
        .position(|word| word.starts_with("AAAA"))
        .unwrap();
    words[..=blob].join(" ") + " "
}

pub(crate) struct World {
    pub(crate) published: Published,
    pub(crate) host: Memory,
    pub(crate) state: tempfile::TempDir,
    pub(crate) config: String,
    pub(crate) now: RefCell<Timestamp>,
}

pub(crate) const A: &str = "/home/a/.ssh/authorized_keys";
pub(crate) const B: &str = "/home/b/.ssh/authorized_keys";

impl World {
    pub(crate) fn new(config: &str) -> Self {
        Self {
            published: Published::default(),
            host: Memory::default(),
            state: tempfile::tempdir().unwrap(),
            config: config.to_owned(),
            now: RefCell::new("2026-11-22T00:00:00Z".parse().unwrap()),
        }
    }

    pub(crate) fn publish(&self, url: &str, version: &str, text: &str) {
        self.published
            .0
            .borrow_mut()
            .insert(url.to_owned(), Ok((version.to_owned(), text.to_owned())));
    }

    /// Puts a further stage on a version, which is made now.
    pub(crate) fn stage(&self, url: &str, stage: Stage, version: &str, text: &str) {
        let part = part(version, Some(*self.now.borrow()), text);
        self.published
            .1
            .borrow_mut()
            .entry(url.to_owned())
            .or_default()
            .insert(stage, part);
    }

    pub(crate) fn unstage(&self, url: &str, stage: Stage) {
        self.published
            .1
            .borrow_mut()
            .entry(url.to_owned())
            .or_default()
            .remove(&stage);
    }

    pub(crate) fn fail(&self, url: &str, class: Class) {
        self.published
            .0
            .borrow_mut()
            .insert(url.to_owned(), Err(class));
    }

    pub(crate) fn cycle_as(&self, intent: Intent) -> Outcome {
        let path = self.state.path();
        let mut store = if intent.dry_run {
            Store::peek(path)
        } else {
            Store::open(path)
        }
        .unwrap();
        self.cycle_in(&mut store, intent)
    }

    pub(crate) fn cycle_in(&self, store: &mut Store, intent: Intent) -> Outcome {
        let config = Config::parse(&self.config).unwrap();
        let built = "2026-01-01T00:00:00Z".parse().unwrap();
        let agent = Agent {
            config,
            fetch: &self.published,
            host: &self.host,
            zone: || TimeZone::UTC,
            built,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(agent.cycle(store, intent, || *self.now.borrow()))
    }

    /// A cycle that asks no source.
    pub(crate) fn cycle_kept(&self, last: &Outcome, now: Timestamp) -> Outcome {
        let config = Config::parse(&self.config).unwrap();
        let built = "2026-01-01T00:00:00Z".parse().unwrap();
        let agent = Agent {
            config,
            fetch: &self.published,
            host: &self.host,
            zone: || TimeZone::UTC,
            built,
        };
        let mut store = Store::open(self.state.path()).unwrap();
        let gathered = agent.gather_kept(&mut store, last, Intent::default(), now);
        agent.install(&mut store, gathered, || now).outcome
    }

    pub(crate) fn cycle(&self) -> Outcome {
        self.cycle_as(Intent::default())
    }
}
