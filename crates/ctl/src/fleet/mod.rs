//! `authkeysctl fleet`: shows which nodes have which key set, once or until all have the expected
//! one.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::{Exit, complain, failure, print, print_json, started};
use crate::output::replace;
use crate::times::moment;
use authkeys_aws::client::retry::RandomJitter;
use authkeys_aws::ec2;
use authkeys_core::config::ReportPrefix;
use authkeys_core::document::Document;
use authkeys_core::fleet::{Filter, Fleet, Node, Scope, View, Wanted, html, json, table};
use authkeys_core::origin::FetchError;
use authkeys_core::report::tags::TagNames;
use authkeys_terminal::block_on;
use authkeys_terminal::clock;
use screen::Screen;
use wait::WaitEnd;
use watch::Watcher;

mod arrival;
pub(super) mod nudge;
mod screen;
mod wait;
mod watch;

pub(super) use arrival::{AddressKind, Nodes, Unknown};

/// What the command takes.
#[derive(Debug, Args)]
pub(super) struct FleetOptions {
    #[command(flatten)]
    selection: Selection,
    /// What all nodes must have: NAME/SERIAL (or a later serial), or a digest of 16 or 64 hex digits
    #[arg(long, value_name = "NAME/SERIAL|DIGEST")]
    document: Option<Wanted>,
    /// Wait until all nodes have the document
    #[arg(long, requires = "document")]
    wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time, requires = "wait")]
    timeout: SignedDuration,
    #[command(flatten)]
    output: Output,
}

/// Which nodes are meant, and how they are read.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Only instances with that tag. Of one KEY any of the VALUEs will do; of several KEYs each
    /// must be met. In a VALUE * stands for any text and ? for any character; \* \? \\ are those
    /// characters themselves
    #[arg(long, value_name = "tag:KEY=VALUE")]
    filter: Vec<Filter>,
    /// Read the nodes' report objects below that place instead of tags. Without --filter EC2 is not
    /// asked at all
    #[arg(long, value_name = "s3://BUCKET/PREFIX/", value_parser = from)]
    from: Vec<From>,
    /// Where the instances are, instead of where the AWS CLI would look
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// How often nodes report though nothing has changed: [report] heartbeat. After twice as long
    /// they are silent
    #[arg(long, value_name = "TIME", default_value = "6h", value_parser = time)]
    heartbeat: SignedDuration,
    /// What the tags' names begin with: [report] tag_prefix
    #[arg(long, value_name = "PREFIX", default_value = TagNames::PREFIX, value_parser = prefix)]
    tag_prefix: TagNames,
}

/// The value of `--from`: where the nodes' report objects are or, for `grant`, the start of a key's
/// window. No text is valid as both.
#[derive(Debug, Clone)]
enum From {
    Place(ReportPrefix),
    Time(Timestamp),
}

fn from(text: &str) -> Result<From, String> {
    match text.starts_with(|first: char| first.is_ascii_digit()) {
        true => moment(text).map(From::Time),
        false => ReportPrefix::parse(text).map(From::Place),
    }
}

/// Whether `--from` may be a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    Nodes,
    NodesOrWindow,
}

impl Selection {
    pub(super) fn check(&self, begins: Begins) -> Result<(), String> {
        let times = self
            .from
            .iter()
            .filter(|from| matches!(from, From::Time(_)))
            .count();
        if times > 1 || self.from.len() - times > 1 {
            return Err("--from is there twice; leave one out".to_owned());
        }
        if times > 0 && begins == Begins::Nodes {
            return Err("--from takes a place here, s3://BUCKET/PREFIX/".to_owned());
        }
        Ok(())
    }

    fn place(&self) -> Option<&ReportPrefix> {
        self.from.iter().find_map(|from| match from {
            From::Place(place) => Some(place),
            From::Time(_) => None,
        })
    }
}

/// How the nodes are shown.
#[derive(Debug, Default, Args)]
struct Output {
    /// Name every node, not only the first ones that need attention
    #[arg(long)]
    all: bool,
    /// Print the fleet as JSON
    #[arg(long)]
    json: bool,
    /// Also write the fleet as one page for a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What follows a publication: the nodes are nudged, and waited for.
#[derive(Debug, Args)]
pub(super) struct Waiting {
    /// Then set the tag that makes nodes with `nudge` in their configuration fetch at once, on all
    /// running instances that --filter lets through
    #[arg(long)]
    pub(super) nudge: bool,
    /// Then wait until all nodes have it; exit 0 only if they do
    #[arg(long)]
    pub(super) wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time, requires = "wait")]
    timeout: SignedDuration,
    #[command(flatten)]
    selection: Selection,
}

impl Waiting {
    /// Options of a publication that nudges and waits for nobody.
    pub(super) fn none() -> Self {
        Self {
            nudge: false,
            wait: false,
            timeout: SignedDuration::ZERO,
            selection: Selection {
                filter: Vec::new(),
                from: Vec::new(),
                region: None,
                heartbeat: SignedDuration::ZERO,
                tag_prefix: TagNames::default(),
            },
        }
    }

    /// Options that select nodes are accepted only with `--wait` or `--nudge`.
    pub(super) fn check(&self, begins: Begins) -> Result<(), String> {
        self.selection.check(begins)?;
        if !self.selection.filter.is_empty() && !self.wait && !self.nudge {
            return Err(
                "--filter says which nodes to wait for or to nudge, and --wait and --nudge are \
                 missing"
                    .to_owned(),
            );
        }
        if self.selection.place().is_some() && !self.wait {
            return Err("--from says which nodes to wait for, and --wait is missing".to_owned());
        }
        Ok(())
    }

    /// The start of a window, if `--from` gives a time.
    pub(super) fn begin(&self) -> Option<Timestamp> {
        for from in &self.selection.from {
            if let From::Time(time) = from {
                return Some(*time);
            }
        }
        None
    }
}

/// Nudges the nodes to fetch a published document. A failure is only a warning.
pub(super) async fn nudge(waiting: &Waiting, document: &Document) {
    if let Some(nodes) = nudge::nudge(&waiting.selection, document).await {
        print(format!("nudged {nodes}\n"));
    }
}

/// Waits until all nodes have a published document.
pub(super) fn wait_for(waiting: &Waiting, document: &Document) -> Result<Exit, Exit> {
    let wanted = wanted(document).map_err(|fault| failure(&fault))?;
    wait(
        &waiting.selection,
        &wanted,
        waiting.timeout,
        &Output::default(),
    )
}

/// The command that waits for the nodes after a publication: for those, and there, that the
/// publication's own options say.
pub(super) fn next_command(waiting: &Waiting, document: &Document) -> Option<String> {
    let wanted = wanted(document).ok()?;
    let mut command = format!("authkeysctl fleet --wait --document {wanted}");
    let selection = &waiting.selection;
    for filter in &selection.filter {
        command.push_str(&format!(" --filter {}", shell_word(&filter.to_string())));
    }
    if let Some(region) = &selection.region {
        command.push_str(&format!(" --region {}", shell_word(region)));
    }
    if selection.tag_prefix.prefix != TagNames::PREFIX {
        let prefix = shell_word(&selection.tag_prefix.prefix);
        command.push_str(&format!(" --tag-prefix {prefix}"));
    }
    Some(format!("see when all nodes have it: {command}\n"))
}

/// A word as a shell reads it: quoted where it has characters that mean something to a shell.
fn shell_word(word: &str) -> String {
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-_.:/=@%+".contains(character)
}

/// How nodes report this document.
fn wanted(document: &Document) -> Result<Wanted, String> {
    match (&document.name, document.serial) {
        (Some(name), Some(serial)) => Ok(Wanted::Numbered {
            name: name.clone(),
            serial,
        }),
        _ => document.digest.hex().parse(),
    }
}

/// Runs the command.
pub(super) fn run(options: &FleetOptions) -> Result<Exit, Exit> {
    if let Err(fault) = options.selection.check(Begins::Nodes) {
        complain(&format!("{fault}; see `authkeysctl fleet --help`"));
        return Err(Exit::Usage);
    }
    match &options.document {
        Some(wanted) if options.wait => {
            wait(&options.selection, wanted, options.timeout, &options.output)
        }
        _ => look(options),
    }
}

/// The seam to AWS: one look at the nodes.
trait WatchNodes {
    /// All nodes.
    async fn nodes(&mut self) -> Result<Vec<Node>, FetchError>;

    /// The nodes with these ids that still exist.
    async fn nodes_again(&mut self, ids: &[String]) -> Result<Vec<Node>, FetchError>;
}

fn look(options: &FleetOptions) -> Result<Exit, Exit> {
    let mut watcher = Watcher::new(&options.selection);
    let looked = started(block_on(async {
        let nodes = watcher.nodes().await?;
        Ok((nodes, watcher.scope().await))
    }))?;
    let (nodes, scope) = looked.map_err(|fault| failed(&fault))?;
    let judged = view(&options.selection, options.document.as_ref(), clock()).judge(nodes);
    let fleet = judged.within(scope);
    let output = &options.output;
    let shown = show(output, &fleet, |screen| {
        table::render(&fleet, &screen.layout(output.all))
    });
    if fleet.rows.is_empty() {
        nobody(&options.selection, &fleet.scope);
        return Err(Exit::Failed);
    }
    let troubled = table::troubled(&fleet);
    if !troubled.is_empty() {
        complain(&format!(
            "not all is well with {} nodes: {troubled}",
            table::grouped(fleet.rows.len())
        ));
        return Err(Exit::Failed);
    }
    shown
}

fn wait(
    selection: &Selection,
    document: &Wanted,
    timeout: SignedDuration,
    output: &Output,
) -> Result<Exit, Exit> {
    let wanted = document.to_string();
    let mut progress = screen::WaitScreen::new(wanted.clone());
    let mut watcher = Watcher::new(selection);
    let (ended, scope) = started(block_on(async {
        let ended = wait::until_all_have_it(
            &mut watcher,
            |now| view(selection, Some(document), now),
            clock,
            timeout.unsigned_abs(),
            &RandomJitter,
            &mut progress,
        );
        let ended = ended.await;
        (ended, watcher.scope().await)
    }))?;
    progress.end();
    let (fleet, last_fault) = match ended.map_err(|fault| failed(&fault))? {
        WaitEnd::All(fleet, took) => {
            let fleet = fleet.within(scope);
            let nodes = match fleet.rows.len() {
                1 => "the one node has".to_owned(),
                nodes => format!("all {} nodes have", table::grouped(nodes)),
            };
            return show(output, &fleet, |_| {
                format!("{nodes} {wanted}, after {}\n", screen::passed(took))
            });
        }
        WaitEnd::Nobody => {
            nobody(selection, &scope);
            return Err(Exit::Failed);
        }
        WaitEnd::Timeout(fleet, last_fault) => (fleet.within(scope), last_fault),
    };
    show(output, &fleet, |screen| {
        table::missing(&fleet, &screen.layout(output.all))
            .trim_start()
            .to_owned()
    })?;
    let all = fleet.rows.len();
    let missing = fleet.rows.len() - fleet.done();
    let also = match last_fault {
        Some(fault) => format!("; and of late the nodes could not be read: {fault}"),
        None => String::new(),
    };
    complain(&format!(
        "{} of {} nodes do not have {wanted} after {:#}: {}{also}",
        table::grouped(missing),
        table::grouped(all),
        timeout,
        table::undone(&fleet)
    ));
    Err(Exit::Failed)
}

fn view(selection: &Selection, wanted: Option<&Wanted>, at: Timestamp) -> View {
    View {
        at,
        heartbeat: selection.heartbeat,
        wanted: wanted.cloned(),
    }
}

/// Prints and writes the requested output.
fn show(output: &Output, fleet: &Fleet, text: impl FnOnce(Screen) -> String) -> Result<Exit, Exit> {
    let written = output.html.as_deref().is_none_or(|file| write(file, fleet));
    let printed = if output.json {
        print_json(&json::shape(fleet))
    } else {
        // Without nodes there is nothing to show; the reason is reported separately.
        fleet.rows.is_empty() || print(text(Screen::stdout()))
    };
    if printed && written {
        Ok(Exit::Good)
    } else {
        Err(Exit::Failed)
    }
}

/// Replaces the file atomically: a reader sees the old page or the new one.
fn write(file: &Path, fleet: &Fleet) -> bool {
    match replace(file, html::render(fleet).as_bytes()) {
        Ok(()) => true,
        Err(fault) => {
            complain(&format!("cannot write {}: {fault}", file.display()));
            false
        }
    }
}

/// The EC2 filters for running instances that match all filters.
fn running(filters: &[Filter]) -> Vec<ec2::Ec2Filter> {
    let mut all = Vec::new();
    for (name, values) in Filter::grouped(filters) {
        all.push(ec2::Ec2Filter { name, values });
    }
    all.push(ec2::Ec2Filter {
        name: "instance-state-name".to_owned(),
        values: vec!["running".to_owned()],
    });
    all
}

fn failed(fault: &FetchError) -> Exit {
    complain(&fault.with_code());
    fault.class.into()
}

/// Reports that no node matches, which never counts as "all nodes".
fn nobody(selection: &Selection, scope: &Scope) {
    complain(&no_node(selection, scope));
}

fn no_node(selection: &Selection, scope: &Scope) -> String {
    let region = match &scope.region {
        Some(region) => format!("in {region}"),
        None => "in this region".to_owned(),
    };
    match (selection.place(), selection.filter.as_slice()) {
        (Some(place), []) => format!("no report object below {}; check the place", place.url()),
        (_, []) => format!("no instance is running {region}; check the region and the account"),
        (_, filters) => format!(
            "no running instance {region} matches {}; check the filters, the region and the \
             account",
            Filter::shown(filters)
        ),
    }
}

/// Parses a time such as `10m`, which must not be zero.
pub(super) fn time(text: &str) -> Result<SignedDuration, String> {
    match text.parse::<SignedDuration>() {
        Ok(time) if time.is_positive() => Ok(time),
        _ => Err(format!("{text:?} is not a time such as \"10m\"")),
    }
}

fn prefix(text: &str) -> Result<TagNames, String> {
    TagNames::new(Some(TagNames::parse_prefix(text)?), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_command_is_quoted_for_the_shell() {
        for (word, typed) in [
            ("tag:Role=worker", "tag:Role=worker"),
            ("tag:Team=data science", "'tag:Team=data science'"),
            ("tag:Name=web-*", "'tag:Name=web-*'"),
            ("tag:Name=o'brien;reboot", r"'tag:Name=o'\''brien;reboot'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(word), typed);
        }
    }
}
