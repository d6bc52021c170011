//! The destinations of a node's reports: tags on its own instance, and an object in S3.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use aws_types::SdkConfig;
use tokio::time::timeout;

use crate::client::fault::Call;
use crate::client::region::{Partition, s3_arn};
use crate::client::{Aws, checksum, endpoint, s3_client};
use crate::ec2::{Ec2, Permitted};
use crate::encryption::encrypted;
use authkeys_core::encryption::Encryption;
use authkeys_core::origin::failure::{Class, FetchError};
use authkeys_core::origin::instance::{Instance, NoInstance};
use authkeys_core::wire::MayTag;

/// Writes reports. Every call is a single attempt: the caller decides when to try again.
#[derive(Debug)]
pub struct ReportWriter {
    aws: Arc<Aws>,
}

/// The destination of a report object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPlace {
    /// The bucket.
    pub bucket: String,
    /// The object's whole key.
    pub key: String,
    /// The bucket's region; by default that of the environment or the metadata service.
    pub region: Option<String>,
    /// The encryption that the write requests; `None`: the bucket's default.
    pub encryption: Option<Encryption>,
}

impl ObjectPlace {
    /// The call that writes it; without a configuration if none has been loaded yet.
    fn put_call(&self, config: Option<&SdkConfig>) -> Call {
        let directory = match self.key.rsplit_once('/') {
            Some((directory, _)) => format!("{directory}/"),
            None => String::new(),
        };
        Call {
            // Without the object's own name, so that all nodes of a fleet report the same fault in
            // the same words.
            source: format!("s3://{}/{directory}", self.bucket),
            operation: "S3 PutObject",
            action: "s3:PutObject",
            resource: s3_arn(config, &format!("{}/{}", self.bucket, self.key)),
            or_else: "",
            endpoint: match config {
                Some(config) => endpoint(config, "S3").unwrap_or_else(|| "S3".to_owned()),
                None => "S3".to_owned(),
            },
        }
    }
}

impl ReportWriter {
    /// Uses existing connections.
    pub fn new(aws: Arc<Aws>) -> Self {
        Self { aws }
    }

    /// Sets tags on the local instance.
    pub async fn tag(&self, tags: &BTreeMap<String, String>) -> Result<(), FetchError> {
        let instance = self.instance().await?;
        self.ec2(&instance).create_tags(&instance.id, tags).await
    }

    /// Whether tags with these keys may be set on the local instance. No tag is set.
    pub async fn may_tag(&self, keys: Vec<String>) -> Result<MayTag, FetchError> {
        let instance = self.instance().await?;
        let tags = keys.into_iter().map(|key| (key, String::new())).collect();
        let permitted = self
            .ec2(&instance)
            .may_create_tags(&instance.id, &tags)
            .await?;
        let Instance {
            id,
            region,
            account,
        } = instance;
        let arn = format!(
            "arn:{}:ec2:{region}:{account}:instance/{id}",
            Partition::of(&region).name
        );
        Ok(MayTag {
            allowed: permitted == Permitted::Yes,
            instance: id,
            arn,
        })
    }

    /// Writes a report object.
    pub async fn put(&self, place: &ObjectPlace, body: Vec<u8>) -> Result<(), FetchError> {
        let config = match self.aws.config(place.region.as_deref()).await {
            Ok(config) => config,
            Err(bad) => return Err(place.put_call(None).unfit(&bad)),
        };
        let call = place.put_call(Some(&config));
        if config.region().is_none() {
            let remedy = "add `?region=REGION` to [report] s3, or set AWS_REGION";
            return Err(call.failed(Class::Invalid, "was not made: no region is known", remedy));
        }
        let request = s3_client(&config)
            .put_object()
            .bucket(&place.bucket)
            .key(&place.key);
        // A bucket with Object Lock retention accepts no object without a checksum.
        let request = request
            .checksum_sha256(checksum(&body))
            .body(ByteStream::from(body));
        let sent = encrypted(request, place.encryption.as_ref())
            .content_type("application/json")
            .send();
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

    async fn instance(&self) -> Result<Instance, FetchError> {
        self.aws.metadata.instance().await.map_err(no_tags)
    }

    /// Uses the instance's own region, whatever region the environment sets for the sources.
    fn ec2(&self, instance: &Instance) -> Ec2 {
        Ec2::over(Arc::clone(&self.aws), Some(&instance.region))
    }
}

fn no_tags(why: NoInstance) -> FetchError {
    let (class, remedy) = match &why {
        NoInstance::Unreachable { .. } => (Class::Transient, "it is tried again"),
        NoInstance::Disabled => (
            Class::Invalid,
            "unset that, or take `ec2_tags` out of [report]",
        ),
        NoInstance::NotOnEc2 { .. } => (Class::Invalid, "take `ec2_tags` out of [report]"),
    };
    FetchError {
        code: None,
        class,
        message: format!("tags: not written, for {why}"),
        remedy: remedy.to_owned(),
    }
}
