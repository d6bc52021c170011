//! The configuration: what `/etc/authkeysd/config.toml` may contain. Parsing does not touch the
//! file system.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::SignedDuration;
use toml::de::{DeTable, DeValue};

use crate::document::{Digest, Name, Rules};
use crate::guard::{Guard, MaxRemovals};
use crate::key::{LineRules, OptionPolicy, is_option_name};
use crate::plan::{ExpiryForm, Mode};
use crate::schedule::{Nudge, Schedule, Splay};
use crate::user::UserName;
use crate::verify::Trust;

pub use path::{FileTemplate, FragmentName, Placed};
pub use reader::ConfigFault;
pub use report::{Report, ReportPrefix};
pub use signers::SignersConfig;
pub use source::{Fallback, Source};

mod nudge;
mod path;
mod reader;
mod report;
mod signers;
mod source;

use reader::{Faults, Positioned, Section, number, string, word};

/// Everything the configuration file says, with the defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The accounts to manage, at least one.
    pub accounts: Vec<AccountConfig>,
    /// When the service runs a cycle.
    pub schedule: Schedule,
    /// How far a cron expression's times are spread over the fleet.
    pub splay: Splay,
    /// How a node checks for the tag that makes it fetch early; `None` if it does not check.
    pub nudge: Option<Nudge>,
    /// How long a source may be unavailable before the node counts as failed.
    pub max_stale: Option<SignedDuration>,
    /// This node's break-glass keys.
    pub pinned_keys: Option<PathBuf>,
    /// Where state is kept; `None` for the default.
    pub state_dir: Option<PathBuf>,
    /// Where the status file is written; `None` for the default.
    pub runtime_dir: Option<PathBuf>,
    /// `None`: chosen by the version of the installed sshd.
    pub expiry_form: Option<ExpiryForm>,
    /// What a document must prove.
    pub trust: Trust,
    /// Who must sign documents; `None` if no signature is required.
    pub signers: Option<SignersConfig>,
    /// The limits on what a new document may do to an account.
    pub guard: Guard,
    /// What a key line must keep to.
    pub line_rules: LineRules,
    /// Where the node's status is reported.
    pub report: Report,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountConfig {
    /// `None`: the user that runs authkeysd.
    pub user: Option<UserName>,
    /// Where the account's keys are published, at least one source. The account gets the keys of
    /// all of them.
    pub sources: Vec<Source>,
    /// How much of the file authkeysd manages.
    pub mode: Mode,
    /// Where the file is.
    pub file: FileTemplate,
    /// With `layout = "coreos"`: the file's name in the directory from which update-ssh-keys
    /// generates `authorized_keys`.
    pub fragment: Option<FragmentName>,
}

#[derive(Clone, Copy)]
enum FileLayout {
    Home,
    System,
    CoreOs,
}

impl Config {
    /// Parses a configuration, or reports every fault in it.
    pub fn parse(text: &str) -> Result<Self, Vec<ConfigFault>> {
        let mut faults = Faults::new(text);
        let (table, broken) = DeTable::parse_recoverable(text);
        for fault in &broken {
            let at = match fault.span() {
                Some(span) => span.start,
                None => 0,
            };
            faults.add(at, "", format!("not TOML: {}", fault.message()));
        }
        if !broken.is_empty() {
            return Err(faults.into_sorted());
        }
        let mut top = Section::new(table.get_ref(), 0..0, "");
        let config = read(&mut top, &mut faults);
        top.finish(&mut faults);
        let faults = faults.into_sorted();
        if faults.is_empty() {
            Ok(config)
        } else {
            Err(faults)
        }
    }

    /// The digest of the configuration's meaning. It is equal as long as the configuration means
    /// the same to this version.
    pub fn digest(&self) -> Digest {
        Digest::of(format!("{} {self:?}", env!("CARGO_PKG_VERSION")).as_bytes())
    }

    /// How documents of a source are judged.
    pub fn rules(&self, source: &Source) -> Rules {
        Rules {
            line: self.line_rules.clone(),
            allow_private_key: source.allow_private_key,
        }
    }

    /// All sources, each once, in the order of the accounts.
    pub fn sources(&self) -> Vec<&Source> {
        let mut seen = BTreeSet::new();
        let mut sources = Vec::new();
        for account in &self.accounts {
            for source in &account.sources {
                if seen.insert(&source.url) {
                    sources.push(source);
                }
            }
        }
        sources
    }
}

fn read(top: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Config {
    let shared = source::read(top, faults);
    let schedule = top.take(faults, "schedule", string(Schedule::parse));
    let splay = top.take(faults, "splay", string(Splay::parse));
    let is_cron = match &schedule {
        Some(found) => !matches!(found.value, Schedule::Every(_)),
        None => false,
    };
    if let Some(splay) = &splay
        && !is_cron
    {
        let message = "an interval needs none: each node has its own phase in it; only a cron \
                       `schedule` takes one";
        faults.add(splay.at, "splay", message);
    }
    let nudge = nudge::read(top, faults);
    let pinned_keys = top.take(faults, "pinned_keys", string(path::absolute));
    let state_dir = top.take(faults, "state_dir", string(path::absolute));
    let runtime_dir = top.take(faults, "runtime_dir", string(path::absolute));
    let forms = &[
        ("auto", None),
        ("utc", Some(ExpiryForm::Utc)),
        ("local", Some(ExpiryForm::LocalStandard)),
        ("omit", Some(ExpiryForm::Omit)),
    ];
    let expiry_form = top.take(faults, "expiry_time", word(forms));

    let mut accounts: Vec<Positioned<AccountConfig>> = Vec::new();
    let sections = top.tables(faults, "account", true);
    if sections.is_empty() {
        faults.add(
            0,
            "account",
            "no account to manage; write at least one [[account]]",
        );
    }
    for section in sections {
        let at = section.at();
        if let Some(value) = read_account(section, shared.as_ref(), faults) {
            accounts.push(Positioned { value, at });
        }
    }
    check_together(&accounts, faults);

    let mut trust = Trust::default();
    let mut signers = None;
    let mut trusting = None;
    for mut section in top.tables(faults, "trust", false) {
        trusting = Some(section.at());
        trust.audience = value_of(section.take(faults, "audience", string(Name::parse)));
        signers = signers::read(&mut section, faults);
        section.finish(faults);
    }
    let mut sources = accounts.iter().flat_map(|account| &account.value.sources);
    let previous = sources.find(|source| source.has_previous());
    if let (Some(trust), Some(source)) = (trusting, previous) {
        let message = format!(
            "{} has AWSPREVIOUS among its stages, which lets keys in that a later document has \
             superseded; leave it out, or leave [trust] out",
            source.url
        );
        faults.add(trust, "trust", message);
    }
    let mut guard = Guard::default();
    let mut max_stale = None;
    let mut line_rules = LineRules::default();
    for mut section in top.tables(faults, "policy", false) {
        let min_keys = section.take(faults, "min_keys", number(0..4_097));
        set(&mut guard.min_keys, min_keys);
        let max_removals = section.take(faults, "max_removals", max_removals);
        set(&mut guard.max_removals, max_removals);
        let min_rsa_bits = section.take(faults, "min_rsa_bits", number(1_024..16_385));
        set(&mut line_rules.min_rsa_bits, min_rsa_bits);
        max_stale = value_of(section.take(faults, "max_stale", string(max_stale_time)));
        let options = section.take(faults, "allow_options", allow_options);
        set(&mut line_rules.options, options);
        section.finish(faults);
    }
    let mut report_sections = top.tables(faults, "report", false).into_iter();
    let report = match report_sections.next() {
        Some(section) => report::read(section, faults),
        None => Report::default(),
    };
    nudge::check(nudge.as_ref(), &report, faults);
    Config {
        accounts: accounts.into_iter().map(|found| found.value).collect(),
        schedule: value_of(schedule).unwrap_or_default(),
        splay: value_of(splay).unwrap_or_default(),
        nudge: value_of(nudge),
        max_stale,
        pinned_keys: value_of(pinned_keys),
        state_dir: value_of(state_dir),
        runtime_dir: value_of(runtime_dir),
        expiry_form: value_of(expiry_form).unwrap_or_default(),
        trust,
        signers,
        guard,
        line_rules,
        report,
    }
}

fn read_account(
    mut section: Section<'_, '_>,
    shared: Option<&Vec<Source>>,
    faults: &mut Faults<'_>,
) -> Option<AccountConfig> {
    let at = section.at();
    let user = section.take(faults, "user", string(UserName::parse));
    let own = source::read(&mut section, faults);
    let mode = section.take(
        faults,
        "mode",
        word(&[("block", Mode::Block), ("exclusive", Mode::Exclusive)]),
    );
    let layouts = &[
        ("home", FileLayout::Home),
        ("system", FileLayout::System),
        ("coreos", FileLayout::CoreOs),
    ];
    let layout = section.take(faults, "layout", word(layouts));
    let fragment = section.take(faults, "fragment", string(FragmentName::parse));
    let file = section.take(faults, "file", string(FileTemplate::parse));
    if let (Some(file), Some(_)) = (&file, &layout) {
        faults.add(
            file.at,
            &section.name("file"),
            "`file` and `layout` exclude each other; keep one of them",
        );
    }
    let layout = value_of(layout).unwrap_or(FileLayout::Home);
    if let (Some(fragment), false) = (&fragment, matches!(layout, FileLayout::CoreOs)) {
        faults.add(
            fragment.at,
            &section.name("fragment"),
            "only `layout = \"coreos\"` has fragments",
        );
    }
    let sources = match own {
        Some(own) => Some(own),
        None => shared.cloned(),
    };
    // A source that is present but invalid has already been reported.
    if sources.is_none() && !section.has("source") && !faults.about("source") {
        faults.add(
            at,
            &section.name("source"),
            "no source; set `source` here or at the top of the file",
        );
    }
    section.finish(faults);
    let sources = sources?;
    let fragment = value_of(fragment).unwrap_or_default();
    let (default_mode, default_file, fragment) = match layout {
        FileLayout::Home => (Mode::Block, FileTemplate::home(), None),
        FileLayout::System => (Mode::Exclusive, FileTemplate::system(), None),
        FileLayout::CoreOs => (
            Mode::Exclusive,
            FileTemplate::fragment(&fragment),
            Some(fragment),
        ),
    };
    Some(AccountConfig {
        user: value_of(user),
        sources,
        mode: value_of(mode).unwrap_or(default_mode),
        file: value_of(file).unwrap_or(default_file),
        fragment,
    })
}

/// Checks what no single account can see: two entries for the same account or the same file.
fn check_together(accounts: &[Positioned<AccountConfig>], faults: &mut Faults<'_>) {
    let mut users = BTreeSet::new();
    let mut files = BTreeSet::new();
    let mut sources = BTreeMap::new();
    for Positioned { value: account, at } in accounts {
        if !users.insert(&account.user) {
            let who = match &account.user {
                Some(user) => user.as_str(),
                None => "the running user",
            };
            faults.add(
                *at,
                "account.user",
                format!("{who} is given twice; one account has one key set and one file"),
            );
        }
        // A shared file would accept every key of one account at the other.
        if let Some(file) = account.file.known(account.user.as_ref())
            && !files.insert(file.clone())
        {
            let file = file.display();
            let message = format!(
                "another account has the same file, {file}; give each its own (%u, %U or %h in it)"
            );
            faults.add(*at, "account.file", message);
        }
        for source in &account.sources {
            let first: &Source = sources.entry(&source.url).or_insert(source);
            let differs = match first {
                first if first.allow_private_key != source.allow_private_key => "allow_private_key",
                first if first.fallback != source.fallback => "fallback",
                _ => continue,
            };
            let message = format!("the same source is used elsewhere with another {differs}");
            faults.add(*at, &format!("account.{differs}"), message);
        }
    }
}

fn value_of<T>(found: Option<Positioned<T>>) -> Option<T> {
    found.map(|found| found.value)
}

fn set<T>(slot: &mut T, found: Option<Positioned<T>>) {
    if let Some(found) = found {
        *slot = found.value;
    }
}

fn max_removals(value: &DeValue<'_>) -> Result<Option<MaxRemovals>, String> {
    if let Some(text) = value.as_str()
        && let Some(text) = text.strip_suffix('%')
        && let Ok(percent @ 0..=100) = text.parse()
    {
        return Ok(Some(MaxRemovals::Percent(percent)));
    }
    match number(0..4_097)(value) {
        Ok(keys) => Ok(Some(MaxRemovals::Keys(keys))),
        Err(_) => {
            Err("must be a number of keys from 0 to 4096, or a share such as \"50%\"".to_owned())
        }
    }
}

fn max_stale_time(text: &str) -> Result<SignedDuration, String> {
    match text.parse::<SignedDuration>() {
        Ok(time) if time >= SignedDuration::from_secs(1) => Ok(time),
        _ => Err(format!(
            "{text:?} is not a time from \"1s\" up, such as \"24h\""
        )),
    }
}

fn allow_options(value: &DeValue<'_>) -> Result<OptionPolicy, String> {
    let list = value
        .as_array()
        .ok_or_else(|| format!("must be a list of option names, not {}", value.type_str()))?;
    let mut names = BTreeSet::new();
    for item in list.iter() {
        match item.get_ref().as_str() {
            Some(name) if is_option_name(name) => {
                names.insert(name.to_owned());
            }
            Some(name) => return Err(format!("{name:?} is not an option that sshd knows")),
            None => return Err("must be a list of option names".to_owned()),
        }
    }
    Ok(OptionPolicy::Only(names))
}
