//! One look at all nodes: the running instances and their tags, or their report objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Selection, Watch, running};
use authkeys_aws::client::{Aws, Limits};
use authkeys_aws::ec2::{self, Ec2, Instance};
use authkeys_aws::objects::Objects;
use authkeys_core::fleet::Node;
use authkeys_core::origin::FetchError;
use authkeys_core::report::tags::TagNames;

/// The real way to look.
#[derive(Debug)]
pub(super) struct Watcher {
    /// `None`: the objects tell which nodes there are.
    instances: Option<Ec2>,
    filters: Vec<ec2::Filter>,
    tags: TagNames,
    objects: Option<Objects>,
    /// The instances of the last look.
    seen: Vec<Instance>,
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
            seen: Vec::new(),
        }
    }

    /// The instances of the last look, where EC2 was asked.
    pub(super) fn instances(&self) -> &[Instance] {
        &self.seen
    }
}

impl Watch for &mut Watcher {
    async fn nodes(&mut self) -> Result<Vec<Node>, FetchError> {
        (**self).nodes().await
    }
}

impl Watch for Watcher {
    async fn nodes(&mut self) -> Result<Vec<Node>, FetchError> {
        let running = match &self.instances {
            Some(ec2) => Some(ec2.instances(&self.filters).await?),
            None => None,
        };
        let told = match &mut self.objects {
            Some(objects) => Some(objects.nodes().await?),
            None => None,
        };
        self.seen = running.clone().unwrap_or_default();
        let tagged = |instance: &Instance| {
            let tags = instance
                .tags
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()));
            self.tags.node(&instance.id, tags)
        };
        Ok(match (running, told) {
            (None, told) => told.unwrap_or_default(),
            (Some(running), None) => running.iter().map(tagged).collect(),
            (Some(running), Some(told)) => {
                let mut told: BTreeMap<String, Node> = told
                    .into_iter()
                    .map(|node| (node.id.clone(), node))
                    .collect();
                let nodes = running.iter().map(tagged).map(|node| Node {
                    word: told
                        .remove(&node.id)
                        .map_or(authkeys_core::fleet::Word::None, |object| object.word),
                    ..node
                });
                nodes.collect()
            }
        })
    }
}
