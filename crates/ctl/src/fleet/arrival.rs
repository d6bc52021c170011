//! The nodes of a selection, for commands that wait for them repeatedly and then connect to them.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, stderr};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;

use super::nudge::nudge;
use super::screen::WaitScreen;
use super::wait::{Tell, WaitEnd, until_all_have_it};
use super::watch::Watcher;
use super::{Selection, WatchNodes as _, no_node, view, wanted};
use authkeys_aws::client::retry::RandomJitter;
use authkeys_aws::client::{Aws, Limits};
use authkeys_aws::ec2::{self, Ec2, Ec2Instance};
use authkeys_core::document::Document;
use authkeys_core::fleet::Fleet;
use authkeys_core::origin::FetchError;
use authkeys_terminal::clock;

/// EC2's limit on the values of one filter.
const VALUES: usize = 200;

/// Which address of an instance is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AddressKind {
    /// Inside its network.
    Private,
    /// In the internet.
    Public,
    /// The public DNS name, or the private one where there is no public one.
    Dns,
}

/// Why the nodes are unknown, or cannot be checked for the document.
#[derive(Debug)]
pub(crate) enum Unknown {
    /// No node matches; the text says where it looked.
    Nobody(String),
    /// The nodes could not be listed.
    Fault(FetchError),
    /// The document has neither a name nor a digest that nodes report.
    Document(String),
}

/// The nodes of a selection.
pub(crate) struct Nodes<'a> {
    selection: &'a Selection,
    watcher: Watcher,
    /// The display name of each node that is not an instance.
    hosts: BTreeMap<String, String>,
}

impl<'a> Nodes<'a> {
    pub(crate) fn new(selection: &'a Selection) -> Self {
        Self {
            selection,
            watcher: Watcher::new(selection),
            hosts: BTreeMap::new(),
        }
    }

    /// The number of nodes.
    pub(crate) async fn count(&mut self) -> Result<usize, Unknown> {
        match self.watcher.nodes().await.map_err(Unknown::Fault)?.len() {
            0 => Err(self.nobody().await),
            nodes => Ok(nodes),
        }
    }

    async fn nobody(&self) -> Unknown {
        Unknown::Nobody(no_node(self.selection, &self.watcher.scope().await))
    }

    /// Nudges the nodes to fetch a published document. A failure is only a warning.
    pub(crate) async fn nudge(&self, document: &Document) {
        // The number of nudged nodes is not needed: the caller waits for them anyway.
        let _nodes = nudge(self.selection, document).await;
    }

    /// Waits until all nodes have the document, or the timeout passes.
    pub(crate) async fn arrival(
        &mut self,
        document: &Document,
        limit: Duration,
    ) -> Result<Fleet, Unknown> {
        let wanted = wanted(document).map_err(Unknown::Document)?;
        let mut progress = OnTerminal(WaitScreen::new(wanted.to_string()));
        let ended = until_all_have_it(
            &mut self.watcher,
            |now| view(self.selection, Some(&wanted), now),
            clock,
            limit,
            &RandomJitter,
            &mut progress,
        )
        .await;
        progress.0.end();
        let fleet = match ended.map_err(Unknown::Fault)? {
            WaitEnd::All(fleet, _) | WaitEnd::Timeout(fleet, _) => fleet,
            WaitEnd::Nobody => return Err(self.nobody().await),
        };
        for row in &fleet.rows {
            let id = row.node.id.clone();
            let name = row.node.name.clone();
            self.hosts.insert(id, name);
        }
        Ok(fleet)
    }

    /// The addresses of the nodes; a node without an address of this kind is left out.
    pub(crate) async fn addresses(
        &mut self,
        nodes: &[String],
        kind: AddressKind,
    ) -> Result<BTreeMap<String, String>, FetchError> {
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        for instance in self.watcher.instances() {
            found.insert(instance.id.clone(), address(instance, kind));
        }
        let mut unknown = Vec::new();
        let mut addresses = BTreeMap::new();
        for node in nodes {
            let host = self.hosts.get(node).filter(|_| !node.starts_with("i-"));
            match found.get(node).or(host) {
                Some(address) => drop(addresses.insert(node.clone(), address.clone())),
                None => unknown.push(node.clone()),
            }
        }
        // Report objects do not say where an instance is.
        let ec2 = Ec2::over(
            Arc::new(Aws::new(Limits::default())),
            self.selection.region.as_deref(),
        );
        for values in unknown.chunks(VALUES) {
            let filter = ec2::Ec2Filter {
                name: "instance-id".to_owned(),
                values: values.to_vec(),
            };
            for instance in ec2.instances(&[filter]).await? {
                addresses.insert(instance.id.clone(), address(&instance, kind));
            }
        }
        addresses.retain(|_, address| !address.is_empty());
        Ok(addresses)
    }
}

fn address(instance: &Ec2Instance, kind: AddressKind) -> String {
    match kind {
        AddressKind::Private => instance.private_address.clone(),
        AddressKind::Public => instance.public_address.clone(),
        AddressKind::Dns => instance.dns_name.clone(),
    }
}

/// A progress bar where someone can see it; otherwise nothing.
struct OnTerminal(WaitScreen);

impl Tell for OnTerminal {
    fn tell(&mut self, fleet: &Fleet, passed: Duration, trouble: Option<&FetchError>) {
        if stderr().is_terminal() {
            self.0.tell(fleet, passed, trouble);
        }
    }
}
