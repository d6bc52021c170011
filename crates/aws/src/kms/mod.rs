//! AWS KMS as a signer of documents: GetPublicKey and Sign over its JSON protocol. The private half
//! never leaves KMS.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::fault::Call;
use crate::client::region::arn;
use crate::client::retry::{RandomJitter, retry};
use crate::client::{Aws, Limits};
use crate::request::{self, AwsService, Body};
use authkeys_core::key::KeyBlob;
use authkeys_core::origin::failure::{Class, FetchError};
use authkeys_core::signing::{Algorithm, KmsKey, armored_signature, key_of_spki, message};
use authkeys_core::verify::signed_by;

mod fault;

const KMS: AwsService = AwsService {
    id: "KMS",
    name: "kms",
    gov_hosts_are_fips: false,
};
/// A command that creates a key in KMS for signatures.
const MAKE_ONE: &str = "create one with `aws kms create-key --key-usage SIGN_VERIFY --key-spec \
                        ECC_NIST_P256` (or P384, P521, ECC_NIST_EDWARDS25519, RSA_3072, RSA_4096)";

/// A signing key in KMS. Nothing is set up before the first call. It must run in a tokio runtime
/// with I/O and time enabled.
#[derive(Debug)]
pub struct KmsSigner {
    aws: Arc<Aws>,
    key: KmsKey,
}

/// The public half, and the id of the key that it belongs to: an alias may change to another key.
struct PublicHalf {
    key: KeyBlob,
    algorithm: Algorithm,
    id: String,
}

#[derive(Deserialize)]
struct GetPublicKeyAnswer {
    #[serde(rename = "KeyId")]
    id: String,
    #[serde(rename = "PublicKey")]
    key: String,
    #[serde(rename = "KeyUsage", default)]
    usage: String,
}

#[derive(Deserialize)]
struct SignAnswer {
    #[serde(rename = "Signature")]
    signature: String,
}

impl KmsSigner {
    /// A signer with that key.
    pub fn new(limits: Limits, key: KmsKey) -> Self {
        Self::over(Arc::new(Aws::new(limits)), key)
    }

    /// The same, using existing connections.
    pub fn over(aws: Arc<Aws>, key: KmsKey) -> Self {
        Self { aws, key }
    }

    /// The public half, by GetPublicKey.
    pub async fn public_key(&self) -> Result<KeyBlob, FetchError> {
        let half = self.public_half().await?;
        Ok(half.key)
    }

    /// The payload followed by its signature, as `ssh-keygen -Y sign` and `cat` would write it. The
    /// payload must be JSON that ends in a line feed.
    pub async fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, FetchError> {
        let half = self.public_half().await?;
        let body = json!({
            "KeyId": half.id,
            "Message": BASE64_STANDARD.encode(message(payload)),
            "MessageType": "RAW",
            "SigningAlgorithm": half.algorithm.kms_name(),
        });
        let call = self.call("KMS Sign", "kms:Sign");
        let answer: SignAnswer = self.ask(&call, "TrentService.Sign", &body).await?;
        match checked(&half.key, payload, &answer.signature) {
            Some(armored) => Ok([payload, &armored].concat()),
            None => Err(call.failed(
                Class::Invalid,
                "returned a signature that does not fit the document",
                "find out what answers in place of KMS: check AWS_ENDPOINT_URL and the proxy",
            )),
        }
    }

    async fn public_half(&self) -> Result<PublicHalf, FetchError> {
        let call = self.call("KMS GetPublicKey", "kms:GetPublicKey");
        let body = json!({ "KeyId": self.key.id() });
        let answer: GetPublicKeyAnswer =
            self.ask(&call, "TrentService.GetPublicKey", &body).await?;
        if !answer.usage.is_empty() && answer.usage != "SIGN_VERIFY" {
            let usage = crate::client::fault::words(&answer.usage);
            let what = format!("says that the key is for {usage}, not for signing");
            return Err(unfit(&call, &what));
        }
        let der = BASE64_STANDARD.decode(&answer.key).unwrap_or_default();
        let key = match key_of_spki(&der) {
            Ok(key) => key,
            Err(fault) => {
                let what = format!("returned a key that cannot sign: {fault}");
                return Err(unfit(&call, &what));
            }
        };
        let Some(algorithm) = Algorithm::of(&key) else {
            return Err(unfit(&call, "returned a key that cannot sign"));
        };
        Ok(PublicHalf {
            key,
            algorithm,
            id: answer.id,
        })
    }

    fn call(&self, operation: &'static str, action: &'static str) -> Call {
        let name = self.key.short_name();
        let resource = if self.key.id().starts_with("arn:") || name.starts_with("alias/") {
            self.key.id().to_owned()
        } else {
            arn(None, "kms", &format!("key/{name}"))
        };
        Call {
            source: self.key.to_string(),
            operation,
            action,
            resource,
            or_else: ", in the key's own policy and in the role's",
            endpoint: "KMS".to_owned(),
        }
    }

    async fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        call: &Call,
        target: &'static str,
        body: &Value,
    ) -> Result<T, FetchError> {
        let limits = &self.aws.limits;
        let answer = retry(&limits.retry, &RandomJitter, call, async || {
            let body = Body {
                content_type: "application/x-amz-json-1.1",
                target: Some(target),
                text: body.to_string(),
            };
            call.within(limits.attempt, self.attempt(call, body)).await
        });
        let mut answer = answer.await;
        if let Err(failure) = &mut answer {
            self.aws.explain(failure).await;
        }
        answer
    }

    async fn attempt<T: for<'de> Deserialize<'de>>(
        &self,
        call: &Call,
        body: Body,
    ) -> Result<T, FetchError> {
        let region = self.key.region();
        let text = match request::send(&self.aws, region, &KMS, call, body).await? {
            Ok(text) => text,
            Err(error) => {
                let placed = request::placed(&self.aws, region, &KMS, call).await;
                return Err(fault::classed(&placed, &error));
            }
        };
        match serde_json::from_str(&text) {
            Ok(answer) => Ok(answer),
            Err(_) => Err(call.failed(
                Class::Transient,
                "sent something that is not an answer of KMS",
                "if it lasts, check the endpoint and the proxy",
            )),
        }
    }
}

/// A key that cannot sign.
fn unfit(call: &Call, what: &str) -> FetchError {
    let remedy = format!("the usage and type of a key in KMS never change: {MAKE_ONE}");
    call.failed(Class::Invalid, what, remedy)
}

/// The signature as OpenSSH writes it, if it is one of the payload by this key.
fn checked(key: &KeyBlob, payload: &[u8], signature: &str) -> Option<Vec<u8>> {
    let signature = BASE64_STANDARD.decode(signature).ok()?;
    let armored = armored_signature(key, &signature)?;
    match signed_by(payload, &armored) {
        Ok(signer) if signer == *key => Some(armored),
        _ => None,
    }
}
