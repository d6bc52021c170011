//! Brings reports to where the fleet is seen: tags on the node's own instance, and an object for each node.

use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use tokio::time::timeout;

use crate::client::fault::Call;
use crate::client::instance::NoInstance;
use crate::client::region::s3_arn;
use crate::client::{Aws, checksum, endpoint, s3_client};
use crate::ec2::Ec2;
use authkeys_core::config::ReportPrefix;
use authkeys_core::origin::failure::{Class, FetchError};
use authkeys_core::report::delivery::{Deliver, Sink, Told};
use authkeys_core::report::object::{self, Node};
use authkeys_core::report::tags::{TagNames, tags};

/// AWS.
#[derive(Debug)]
pub struct Remote {
    aws: Arc<Aws>,
    /// What a node is called that is no EC2 instance.
    host: Node,
}

impl Remote {
    /// Over connections that exist; `host` names the node where there is no instance.
    pub fn new(aws: Arc<Aws>, host: Node) -> Self {
        Self { aws, host }
    }

    async fn tag(&self, names: &TagNames, told: &Told) -> Result<(), FetchError> {
        let instance = self.aws.metadata.instance().await.map_err(|why| unknown("tags", why))?;
        // The instance's own region, whatever the environment says about the sources.
        let ec2 = Ec2::over(Arc::clone(&self.aws), Some(&instance.region));
        ec2.create_tags(instance.id.as_str(), &tags(&told.summary, names)).await
    }

    async fn put(&self, prefix: &ReportPrefix, told: &Told) -> Result<(), FetchError> {
        let node = match self.aws.metadata.instance().await {
            Ok(instance) => Node::instance(instance.id.as_str(), &instance.region, &instance.account),
            Err(NoInstance::Disabled | NoInstance::NotOnEc2 { .. }) => self.host.clone(),
            // An instance must not have two objects.
            Err(why @ NoInstance::Unreachable { .. }) => return Err(unknown("report object", why)),
        };
        let key = format!("{}{}.json", prefix.prefix, node.name);
        let call = |config| Call {
            source: prefix.url(),
            operation: "S3 PutObject",
            action: "s3:PutObject",
            resource: s3_arn(config, &format!("{}/{key}", prefix.bucket)),
            or_else: "",
            endpoint: config.and_then(|config| endpoint(config, "S3")).unwrap_or_else(|| "S3".to_owned()),
        };
        let config = self.aws.config(prefix.region.as_deref()).await.map_err(|bad| call(None).unfit(&bad))?;
        let call = call(Some(&config));
        if config.region().is_none() {
            let remedy = "add `?region=REGION` to [report] s3, or set AWS_REGION";
            return Err(call.failed(Class::Invalid, "was not made: no region is known", remedy));
        }
        let request = s3_client(&config).put_object().bucket(&prefix.bucket).key(key);
        let body = object::render(&told.summary, &told.outcome, &node);
        // A bucket whose objects Object Lock retains takes none without a checksum.
        let request = request.checksum_sha256(checksum(body.as_ref())).body(ByteStream::from(body));
        let sent = request.content_type("application/json").send();
        match timeout(self.aws.limits.attempt, sent).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                let mut failed = call.classed(&error);
                if matches!(failed.class, Class::Missing | Class::Invalid) {
                    "correct [report] s3, or the endpoint".clone_into(&mut failed.remedy);
                }
                Err(failed)
            }
            Err(_elapsed) => Err(call.timed_out(self.aws.limits.attempt)),
        }
    }
}

impl Deliver for Remote {
    async fn deliver(&self, sink: &Sink, told: &Told) -> Result<(), FetchError> {
        match sink {
            Sink::Tags(names) => self.tag(names, told).await,
            Sink::Object(prefix) => self.put(prefix, told).await,
        }
    }
}

fn unknown(what: &str, why: NoInstance) -> FetchError {
    let (class, remedy) = match &why {
        NoInstance::Unreachable { .. } => (Class::Transient, "it is tried again"),
        NoInstance::Disabled => (Class::Invalid, "unset that, or take `ec2_tags` out of [report]"),
        NoInstance::NotOnEc2 { .. } => (Class::Invalid, "take `ec2_tags` out of [report]"),
    };
    FetchError { class, message: format!("{what}: not written, for {why}"), remedy: remedy.to_owned() }
}
