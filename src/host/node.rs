//! The real node: each step runs on a thread of a pool, as the account if the file is in its home.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use nix::unistd::Gid;

use super::login::LoginState;
use super::read::{self, WantedFile};
use super::replace::{self, Gate};
use super::temporary::sweep;
use super::walk::{self, Absent, Directory, file_name};
use super::worker::{AccountStep, Awaited, Late, Workers};
use super::{
    Account, FoundFragments, Host, HostError, MAX_FILE, Place, Replaced, Replacement, Snapshot,
    Stamp, Target, account, fragments, identity, lock, login, preflight, refresh, sshd,
};
use crate::locked::locked;
use authkeys_core::user::UserName;

/// How long the accounts of a cycle wait for the slowest one before they go ahead.
const PATIENCE: Duration = Duration::from_secs(1);

/// The node that authkeysd runs on.
#[derive(Debug)]
pub struct Node {
    /// The longest that one call may take, 10 s: a home on a dead network file system delays only
    /// its own account.
    pub limit: Duration,
    /// The longest that a replace waits for update-ssh-keys' lock, 5 s. Must be less than `limit`.
    pub lock_wait: Duration,
    /// The longest that update-ssh-keys may run, 5 s. Must be less than `limit`.
    pub refresh_limit: Duration,
    /// Whether a read may remove leftovers of killed runs beside the file, and repair the file's
    /// mode if its target permits that. `false` if nothing may be written.
    pub sweeps: bool,
    workers: Workers,
    late_accounts: Late<Account>,
    late_reads: Late<Snapshot>,
    late_fragments: Late<FoundFragments>,
    late_again: Late<Option<Snapshot>>,
    sshd: sshd::SshdVersion,
    groups: KnownGroups,
}

/// The groups of accounts, as NSS returned them last.
#[derive(Debug, Default, Clone)]
struct KnownGroups(Arc<Mutex<HashMap<Account, Vec<Gid>>>>);

impl KnownGroups {
    fn known(&self) -> MutexGuard<'_, HashMap<Account, Vec<Gid>>> {
        locked(&self.0)
    }

    /// Asks NSS for the groups.
    fn of(&self, account: &Account) -> Result<Vec<Gid>, HostError> {
        let groups = identity::groups_of(account)?;
        self.known().insert(account.clone(), groups.clone());
        Ok(groups)
    }

    /// The groups from the last answer, or from NSS if there is none.
    fn last_of(&self, account: &Account) -> Result<Vec<Gid>, HostError> {
        let known = self.known().get(account).cloned();
        known.map_or_else(|| self.of(account), Ok)
    }
}

impl Default for Node {
    fn default() -> Self {
        Self {
            limit: Duration::from_secs(10),
            lock_wait: Duration::from_secs(5),
            refresh_limit: Duration::from_secs(5),
            sweeps: true,
            workers: Workers::default(),
            late_accounts: Late::default(),
            late_reads: Late::default(),
            late_fragments: Late::default(),
            late_again: Late::default(),
            sshd: sshd::SshdVersion::default(),
            groups: KnownGroups::default(),
        }
    }
}

impl Node {
    /// A node that is only read: it removes no leftovers and changes no mode.
    pub fn read_only() -> Self {
        Self {
            sweeps: false,
            ..Self::default()
        }
    }

    /// Whether update-ssh-keys, which generates `authorized_keys` from fragments, is installed.
    pub fn makes_fragments() -> bool {
        refresh::installed().is_some()
    }

    /// Looks up what, beside its files, decides about logins of the account.
    pub fn login_state(&self, account: &Account) -> Result<LoginState, HostError> {
        let name = account.user.to_string();
        let account = account.clone();
        let step = AccountStep::new(name, PathBuf::from("its NSS entry"), move |_| {
            login::look_up(&account)
        });
        self.workers.run(step, self.limit, &Late::default())
    }

    fn look_up(user: Option<&UserName>) -> AccountStep<Account> {
        let asked = user.cloned();
        let name = user.map_or_else(|| "that runs authkeysd".to_owned(), UserName::to_string);
        AccountStep::new(name, PathBuf::from("its NSS entry"), move |_| {
            account::look_up(asked.as_ref())
        })
    }

    fn reading(&self, target: &Target) -> AccountStep<Snapshot> {
        let sweeps = self.sweeps;
        self.as_owner(target, move |target, _| {
            let place = Located::find(target, Absent::Leave)?;
            let Some(directory) = &place.directory else {
                return Ok(Snapshot::absent());
            };
            if sweeps {
                sweep(
                    place.staging.as_ref().unwrap_or(directory),
                    place.staged_as(),
                );
            }
            read::file_as_left(
                directory,
                &place.name,
                &place.wanted,
                sweeps && target.repairs,
                target.left,
            )
        })
    }

    fn reading_fragments(&self, target: &Target) -> AccountStep<FoundFragments> {
        let sweeps = self.sweeps;
        self.as_owner(target, move |target, _| match &target.place {
            Place::Fragment { name } => {
                fragments::read_all(&target.account, name, sweeps, target.repairs)
            }
            _ => Err(HostError::Path {
                path: target.path(),
                fault: "it is not a fragment of update-ssh-keys",
            }),
        })
    }

    fn replacing(&self, file: &Replacement<'_>) -> AccountStep<Replaced> {
        let seen = file.seen.clone();
        let content = file.content.to_vec();
        let lock_wait = self.lock_wait;
        self.as_owner(file.target, move |target, awaited| {
            let place = Located::find(target, Absent::Make)?;
            let Some(directory) = &place.directory else {
                return Ok(Replaced::ChangedMeanwhile);
            };
            let name = &place.name;
            let staging = (
                place.staging.as_ref().unwrap_or(directory),
                place.staged_as(),
            );
            replace::file_by_way_of(staging, directory, name, &place.wanted, &content, || {
                let lock = match target.place {
                    Place::Home { .. } => lock::take(&target.account, lock_wait, Absent::Leave)?,
                    Place::Fragment { .. } if refresh::installed().is_some() => {
                        lock::take(&target.account, lock_wait, Absent::Make)?
                    }
                    Place::Fragment { .. } => {
                        lock::take(&target.account, lock_wait, Absent::Leave)?
                    }
                    Place::System { .. } => None,
                };
                if read::current_stamp(directory, name)? != seen {
                    return Ok(Gate::Changed);
                }
                awaited.still(&target.path())?;
                Ok(Gate::Open(lock))
            })
        })
    }

    /// A step with the file-system identity of the account if the file is in its home.
    fn as_owner<T>(
        &self,
        target: &Target,
        work: impl FnOnce(&Target, &Awaited) -> Result<T, HostError> + Send + 'static,
    ) -> AccountStep<T> {
        let account = target.account.user.to_string();
        let path = target.path();
        let target = target.clone();
        let groups = self.groups.clone();
        AccountStep::new(account, path, move |awaited| {
            if target.is_the_accounts() {
                let groups = groups.of(&target.account)?;
                identity::become_account(&target.account, &groups)?;
            }
            work(&target, awaited)
        })
    }

    /// Checks whether an account is the one of a target, and reads its file, in one step.
    fn reading_again(
        &self,
        user: Option<&UserName>,
        target: &Target,
    ) -> AccountStep<Option<Snapshot>> {
        let account = target.account.user.to_string();
        let path = target.path();
        let user = user.cloned();
        let target = target.clone();
        let groups = self.groups.clone();
        AccountStep::new(account, path, move |_| {
            if account::look_up(user.as_ref())? != target.account {
                return Ok(None);
            }
            if target.is_the_accounts() {
                let groups = groups.last_of(&target.account)?;
                identity::become_account(&target.account, &groups)?;
            }
            let place = Located::find(&target, Absent::Leave)?;
            let Some(directory) = &place.directory else {
                return Ok(Some(Snapshot::absent()));
            };
            read::file(directory, &place.name, &place.wanted, false).map(Some)
        })
    }
}

impl Host for Node {
    fn account(&self, user: Option<&UserName>) -> Result<Account, HostError> {
        self.workers
            .run(Self::look_up(user), self.limit, &self.late_accounts)
    }

    fn read(&self, target: &Target) -> Result<Snapshot, HostError> {
        self.workers
            .run(self.reading(target), self.limit, &self.late_reads)
    }

    fn sshd_version(&self) -> Option<(u32, u32)> {
        self.sshd.version()
    }

    fn sshd_is_unknown(&self) -> bool {
        self.sshd.is_unknown()
    }

    fn replace(
        &self,
        target: &Target,
        seen: &Stamp,
        content: &[u8],
    ) -> Result<Replaced, HostError> {
        self.workers.run(
            self.replacing(&Replacement {
                target,
                seen,
                content,
            }),
            self.limit,
            &Late::default(),
        )
    }

    fn preflight(&self, target: &Target, length: u64) -> Result<(), HostError> {
        let lock_wait = self.lock_wait;
        let step = self.as_owner(target, move |target, _| {
            preflight::target(target, length, lock_wait)
        });
        self.workers.run(step, self.limit, &Late::default())
    }

    fn fragments(&self, target: &Target) -> Result<FoundFragments, HostError> {
        self.workers.run(
            self.reading_fragments(target),
            self.limit,
            &self.late_fragments,
        )
    }

    fn refresh(&self, target: &Target) -> Result<(), HostError> {
        let account = target.account.clone();
        let limit = self.refresh_limit;
        let name = file_name(&target.path())?.to_owned();
        // The program gets all of the account's ids. After it the thread takes the account's
        // file-system identity, to sync.
        let step = AccountStep::new(
            target.account.user.to_string(),
            target.path(),
            move |_: &Awaited| {
                identity::permit(&account)?;
                let groups = identity::groups_of(&account)?;
                let ran = refresh::run(&account, limit);
                identity::become_account(&account, &groups)?;
                refresh::make_durable(&account, &name)?;
                ran
            },
        );
        self.workers.run(step, self.limit, &Late::default())
    }

    fn accounts(&self, users: &[Option<&UserName>]) -> Vec<Option<Result<Account, HostError>>> {
        let steps = users.iter().map(|user| Self::look_up(*user));
        self.workers
            .run_all(steps, PATIENCE, self.limit, &self.late_accounts)
    }

    fn read_all(&self, targets: &[&Target]) -> Vec<Option<Result<Snapshot, HostError>>> {
        let steps = targets.iter().map(|target| self.reading(target));
        self.workers
            .run_all(steps, PATIENCE, self.limit, &self.late_reads)
    }

    fn read_again(
        &self,
        files: &[(Option<&UserName>, &Target)],
    ) -> Vec<Option<Result<Option<Snapshot>, HostError>>> {
        // A step that hangs since an earlier call is left to the full cycle, and never started
        // twice.
        if self.late_again.hang() {
            return files.iter().map(|_| None).collect();
        }
        let steps = files
            .iter()
            .map(|(user, target)| self.reading_again(*user, target));
        self.workers
            .run_all(steps, PATIENCE, self.limit, &self.late_again)
    }

    fn all_fragments(&self, targets: &[&Target]) -> Vec<Option<Result<FoundFragments, HostError>>> {
        let steps = targets.iter().map(|target| self.reading_fragments(target));
        self.workers
            .run_all(steps, PATIENCE, self.limit, &self.late_fragments)
    }

    fn replace_all(&self, files: &[Replacement<'_>]) -> Vec<Result<Replaced, HostError>> {
        let late = Late::default();
        let steps = files.iter().map(|file| self.replacing(file));
        let started = self.workers.run_all(steps, PATIENCE, self.limit, &late);
        let wait =
            |file: &Replacement<'_>| self.workers.run(self.replacing(file), self.limit, &late);
        files
            .iter()
            .zip(started)
            .map(|(file, ended)| ended.unwrap_or_else(|| wait(file)))
            .collect()
    }
}

/// A target's directory, if it exists, and what its file must be like.
struct Located {
    directory: Option<Directory>,
    name: OsString,
    wanted: WantedFile,
    /// Where new content is written before it is renamed, if not in `directory`.
    staging: Option<Directory>,
}

impl Located {
    /// The name that the temporary file's name starts with.
    fn staged_as(&self) -> &OsStr {
        if self.staging.is_some() {
            OsStr::new(fragments::STAGED_AS)
        } else {
            &self.name
        }
    }

    fn find(target: &Target, absent: Absent) -> Result<Self, HostError> {
        // Check the name first, so that no directory is made for a file with an invalid name.
        Ok(match &target.place {
            Place::Home { below } => {
                let Account { uid, gid, .. } = target.account;
                let wanted = WantedFile {
                    uid,
                    gid: Some(gid),
                    mode: 0o600,
                    tolerated: 0,
                    limit: MAX_FILE,
                };
                let name = file_name(below)?.to_owned();
                Self {
                    name,
                    directory: walk::below_home(&target.account, below, absent)?,
                    wanted,
                    staging: None,
                }
            }
            Place::Fragment { name } => {
                let below = Path::new(fragments::DIRECTORY).join(name);
                let name = file_name(&below)?.to_owned();
                let directory = walk::below_home(&target.account, &below, absent)?;
                let staging = walk::below_home(
                    &target.account,
                    Path::new(fragments::GENERATED),
                    Absent::Leave,
                )?;
                Self {
                    name,
                    directory,
                    wanted: fragments::wanted(&target.account),
                    staging,
                }
            }
            Place::System { path } => {
                let uid = nix::unistd::geteuid().as_raw();
                let gid = nix::unistd::getegid().as_raw();
                let wanted = WantedFile {
                    uid,
                    gid: Some(gid),
                    mode: 0o644,
                    tolerated: 0,
                    limit: MAX_FILE,
                };
                let name = file_name(path)?.to_owned();
                Self {
                    name,
                    directory: walk::system(path, absent)?,
                    wanted,
                    staging: None,
                }
            }
        })
    }
}
