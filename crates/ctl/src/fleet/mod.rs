//! `authkeysctl fleet`: which nodes have which key set, once or until all have the one that is waited for.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::{Exit, complain, print, print_json};
use crate::output::replace;
use authkeys_aws::client::retry::RandomJitter;
use authkeys_core::config::ReportPrefix;
use authkeys_core::fleet::{Filter, Fleet, Node, View, Wanted, html, json, table};
use authkeys_core::origin::FetchError;
use authkeys_core::report::tags::TagNames;
use authkeys_terminal::block_on;
use authkeys_terminal::clock;
use screen::Screen;
use wait::Ended;
use watch::Watcher;

mod screen;
mod wait;
mod watch;

/// What the command takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Only instances with that tag. Of one KEY any of the VALUEs will do, in which * and ? stand for any text and any
    /// sign; of several KEYs each must be met
    #[arg(long, value_name = "tag:KEY=VALUE")]
    filter: Vec<Filter>,
    /// Read the nodes' report objects below that place instead of tags. Without --filter EC2 is not asked at all
    #[arg(long, value_name = "s3://BUCKET/PREFIX/", value_parser = ReportPrefix::parse)]
    from: Option<ReportPrefix>,
    /// Where the instances are, instead of where the AWS CLI would look
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// What all shall have: NAME/SERIAL (or a later serial), or a digest of 16 or 64 hex digits
    #[arg(long, value_name = "NAME/SERIAL|DIGEST")]
    document: Option<Wanted>,
    /// Wait until all nodes have the document
    #[arg(long, requires = "document")]
    wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time, requires = "wait")]
    timeout: SignedDuration,
    /// How often nodes report though nothing has changed: [report] heartbeat. After twice as long they are silent
    #[arg(long, value_name = "TIME", default_value = "6h", value_parser = time)]
    heartbeat: SignedDuration,
    /// What the tags' names begin with: [report] tag_prefix
    #[arg(long, value_name = "PREFIX", default_value = TagNames::PREFIX, value_parser = prefix)]
    tag_prefix: TagNames,
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

/// Runs the command.
pub(super) fn run(options: &Options) -> Result<Exit, Exit> {
    let watcher = Watcher::new(options);
    if options.wait { wait(options, watcher) } else { look(options, watcher) }
}

/// The seam to AWS: one look at all nodes.
trait Watch {
    async fn nodes(&mut self) -> Result<Vec<Node>, FetchError>;
}

fn look(options: &Options, mut watcher: Watcher) -> Result<Exit, Exit> {
    let nodes = started(block_on(watcher.nodes()))?.map_err(|fault| failed(&fault))?;
    let fleet = view(options, clock()).judge(nodes);
    let shown = show(options, &fleet, |screen| table::render(&fleet, &screen.layout(options.all)));
    if fleet.rows.is_empty() {
        nobody(options);
        return Err(Exit::Failed);
    }
    let troubled = table::troubled(&fleet);
    if !troubled.is_empty() {
        complain(&format!("not all is well with {} nodes: {troubled}", table::grouped(fleet.rows.len())));
        return Err(Exit::Failed);
    }
    shown
}

fn wait(options: &Options, watcher: Watcher) -> Result<Exit, Exit> {
    let wanted = options.document.as_ref().map(Wanted::to_string).unwrap_or_default();
    let mut progress = screen::Progress::new(wanted.clone());
    let limit = options.timeout.unsigned_abs();
    let work = wait::until_all_have_it(watcher, |now| view(options, now), clock, limit, &RandomJitter, &mut progress);
    let ended = started(block_on(work))?;
    progress.end();
    let (fleet, last_fault) = match ended.map_err(|fault| failed(&fault))? {
        Ended::All(fleet, took) => {
            let nodes = match fleet.rows.len() {
                1 => "the one node has".to_owned(),
                nodes => format!("all {} nodes have", table::grouped(nodes)),
            };
            return show(options, &fleet, |_| format!("{nodes} {wanted}, after {}\n", screen::passed(took)));
        }
        Ended::Nobody => {
            nobody(options);
            return Err(Exit::Failed);
        }
        Ended::Timeout(fleet, last_fault) => (fleet, last_fault),
    };
    show(options, &fleet, |screen| table::missing(&fleet, &screen.layout(options.all)).trim_start().to_owned())?;
    let (all, missing) = (fleet.rows.len(), fleet.rows.len() - fleet.done());
    let also =
        last_fault.map(|fault| format!("; and of late the nodes could not be read: {fault}")).unwrap_or_default();
    complain(&format!(
        "{} of {} nodes do not have {wanted} after {:#}: {}{also}",
        table::grouped(missing),
        table::grouped(all),
        options.timeout,
        table::undone(&fleet)
    ));
    Err(Exit::Failed)
}

fn view(options: &Options, at: Timestamp) -> View {
    View { at, heartbeat: options.heartbeat, wanted: options.document.clone() }
}

fn started<T>(ran: std::io::Result<T>) -> Result<T, Exit> {
    ran.map_err(|fault| {
        complain(&format!("cannot start: {fault}"));
        Exit::Failed
    })
}

/// Prints and writes what is asked for.
fn show(options: &Options, fleet: &Fleet, text: impl FnOnce(Screen) -> String) -> Result<Exit, Exit> {
    let written = options.html.as_deref().is_none_or(|file| write(file, fleet));
    let printed = if options.json {
        print_json(&json::shape(fleet))
    } else {
        // Of no node there is nothing to show; what is wrong is told apart.
        fleet.rows.is_empty() || print(text(Screen::stdout()))
    };
    if printed && written { Ok(Exit::Good) } else { Err(Exit::Failed) }
}

/// A reader sees the old page or the new one.
fn write(file: &Path, fleet: &Fleet) -> bool {
    match replace(file, html::render(fleet).as_bytes()) {
        Ok(()) => true,
        Err(fault) => {
            complain(&format!("cannot write {}: {fault}", file.display()));
            false
        }
    }
}

fn failed(fault: &FetchError) -> Exit {
    complain(&fault.to_string());
    fault.class.into()
}

/// No node at all is never "all nodes".
fn nobody(options: &Options) {
    let place = match (&options.from, options.filter.as_slice()) {
        (Some(place), []) => format!("there is no report object below {}; check the place", place.url()),
        (_, []) => "no instance runs here; check the region and the account".to_owned(),
        (_, filters) => format!(
            "no running instance matches {}; check the filters, the region and the account",
            Filter::shown(filters)
        ),
    };
    complain(&place);
}

fn time(text: &str) -> Result<SignedDuration, String> {
    let time = text.parse::<SignedDuration>().ok().filter(SignedDuration::is_positive);
    time.ok_or_else(|| format!("{text:?} is no time such as \"10m\""))
}

fn prefix(text: &str) -> Result<TagNames, String> {
    TagNames::new(Some(TagNames::parse_prefix(text)?), None)
}
