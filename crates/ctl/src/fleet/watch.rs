//! One look at all nodes: the running instances and their tags, or their report objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Selection, WatchNodes, running};
use authkeys_aws::client::{Aws, Limits};
use authkeys_aws::ec2::{self, Ec2, Ec2Instance};
use authkeys_aws::objects::Objects;
use authkeys_core::config::ReportPrefix;
use authkeys_core::fleet::{Filter, Node, Scope, Word};
use authkeys_core::origin::FetchError;
use authkeys_core::report::tags::TagNames;

/// The real implementation of `WatchNodes`.
#[derive(Debug)]
pub(super) struct Watcher {
    /// `None`: the report objects determine which nodes exist.
    instances: Option<Ec2>,
    filters: Vec<ec2::Ec2Filter>,
    tags: TagNames,
    objects: Option<Objects>,
    /// The same filters as the user wrote them.
    selected: Vec<Filter>,
    place: Option<String>,
    /// The instances that the last look found, by id.
    seen: BTreeMap<String, Ec2Instance>,
}

impl Watcher {
    pub(super) fn new(selection: &Selection) -> Self {
        let aws = Arc::new(Aws::new(Limits::default()));
        let objects = selection
            .place()
            .cloned()
            .map(|place| Objects::new(Arc::clone(&aws), place));
        let asks_ec2 = objects.is_none() || !selection.filter.is_empty();
        Self {
            instances: asks_ec2.then(|| Ec2::over(aws, selection.region.as_deref())),
            filters: running(&selection.filter),
            tags: selection.tag_prefix.clone(),
            objects,
            selected: selection.filter.clone(),
            place: selection.place().map(ReportPrefix::url),
            seen: BTreeMap::new(),
        }
    }

    fn remember(&mut self, instances: Vec<Ec2Instance>) {
        for instance in instances {
            self.seen.insert(instance.id.clone(), instance);
        }
    }

    /// The instances that the last look found, if EC2 was asked.
    pub(super) fn instances(&self) -> impl Iterator<Item = &Ec2Instance> {
        self.seen.values()
    }

    /// Where the nodes of the last look are.
    pub(super) async fn scope(&self) -> Scope {
        let mut accounts = BTreeSet::new();
        for instance in self.seen.values() {
            if !instance.account.is_empty() {
                accounts.insert(instance.account.clone());
            }
        }
        let region = match &self.instances {
            Some(ec2) => ec2.region().await,
            None => None,
        };
        Scope {
            region,
            accounts: accounts.into_iter().collect(),
            filters: self.selected.clone(),
            place: self.place.clone(),
        }
    }

    /// What is known about each instance. Where report objects are read, they take precedence.
    fn instance_nodes(&self, instances: &[Ec2Instance], reports: Option<Vec<Node>>) -> Vec<Node> {
        let mut nodes = Vec::new();
        for instance in instances {
            let tags = instance.tags.iter();
            let tags = tags.map(|(key, value)| (key.as_str(), value.as_str()));
            nodes.push(self.tags.node(&instance.id, tags));
        }
        let Some(reports) = reports else { return nodes };
        let mut words = BTreeMap::new();
        for report in reports {
            words.insert(report.id, report.word);
        }
        for node in &mut nodes {
            node.word = words.remove(&node.id).unwrap_or(Word::None);
        }
        nodes
    }
}

impl WatchNodes for &mut Watcher {
    async fn nodes(&mut self) -> Result<Vec<Node>, FetchError> {
        (**self).nodes().await
    }

    async fn nodes_again(&mut self, ids: &[String]) -> Result<Vec<Node>, FetchError> {
        (**self).nodes_again(ids).await
    }
}

impl WatchNodes for Watcher {
    async fn nodes(&mut self) -> Result<Vec<Node>, FetchError> {
        let running = match &self.instances {
            Some(ec2) => Some(ec2.instances(&self.filters).await?),
            None => None,
        };
        let reports = match &mut self.objects {
            Some(objects) => Some(objects.nodes().await?),
            None => None,
        };
        let Some(running) = running else {
            return Ok(reports.unwrap_or_default());
        };
        self.seen.clear();
        let nodes = self.instance_nodes(&running, reports);
        self.remember(running);
        Ok(nodes)
    }

    async fn nodes_again(&mut self, ids: &[String]) -> Result<Vec<Node>, FetchError> {
        let known = self.seen.len();
        let running = match &self.instances {
            Some(ec2) => Some(ec2.instances_again(ids, &self.filters, known).await?),
            None => None,
        };
        let reports = match &mut self.objects {
            Some(objects) => Some(objects.nodes_again(ids).await?),
            None => None,
        };
        let Some(running) = running else {
            return Ok(reports.unwrap_or_default());
        };
        for id in ids {
            self.seen.remove(id);
        }
        let nodes = self.instance_nodes(&running, reports);
        self.remember(running);
        Ok(nodes)
    }
}
