//! The private keys of a secret's stages, in the order in which they are offered.

use zeroize::Zeroizing;

use crate::fault::failed;
use crate::{Exit, complain, progress};
use authkeys_aws::client::{Aws, Limits};
use authkeys_aws::credential::Credential;
use authkeys_core::key::private_key;
use authkeys_core::origin::Class;

const CURRENT: &str = "AWSCURRENT";
/// In the middle of a rotation some nodes still have only the public half of this stage's key.
const PREVIOUS: &str = "AWSPREVIOUS";

/// One private key.
pub(super) struct PrivateKey {
    pub(super) stage: String,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// Reads the key of one stage; by default AWSCURRENT's key and, if there is one, AWSPREVIOUS's. A
/// failure is reported.
pub(super) async fn read(
    secret: &Credential,
    stage: Option<&str>,
) -> Result<Vec<PrivateKey>, Exit> {
    let aws = Aws::new(Limits::default());
    let work = async {
        let first = stage.unwrap_or(CURRENT);
        let mut keys = vec![read_stage(&aws, secret, first).await?];
        if stage.is_none() {
            keys.extend(read_previous(&aws, secret).await);
        }
        Ok(keys)
    };
    progress::shown(&format!("reading {}", secret.name()), work).await
}

async fn read_stage(aws: &Aws, secret: &Credential, stage: &str) -> Result<PrivateKey, Exit> {
    let value = match secret.read(aws, stage).await {
        Ok(Some(value)) => value,
        Ok(None) => return Err(failed(&secret.no_such_stage(stage))),
        Err(fault) if fault.class == Class::Missing && is_there(aws, secret).await => {
            return Err(failed(&secret.no_such_stage(stage)));
        }
        Err(fault) => return Err(failed(&fault)),
    };
    let bytes = private_key(&value).map_err(|fault| {
        complain(&format!("{}, {stage}: {fault}", secret.name()));
        Exit::Failed
    })?;
    Ok(PrivateKey {
        stage: stage.to_owned(),
        bytes,
    })
}

/// Whether the secret exists: not every service with this protocol distinguishes a missing stage
/// from a missing secret.
async fn is_there(aws: &Aws, secret: &Credential) -> bool {
    secret.read(aws, CURRENT).await.is_ok()
}

/// Except in the middle of a rotation, the current key opens every node. So a failure to read the
/// previous one is not fatal.
async fn read_previous(aws: &Aws, secret: &Credential) -> Option<PrivateKey> {
    let value = match secret.read(aws, PREVIOUS).await {
        Ok(value) => value?,
        // The secret exists, but no version has that stage.
        Err(fault) if fault.class == Class::Missing => return None,
        Err(fault) => {
            complain(&format!(
                "warning: only the key of {CURRENT} is offered: {}",
                fault.with_code()
            ));
            return None;
        }
    };
    let bytes = private_key(&value).ok()?;
    Some(PrivateKey {
        stage: PREVIOUS.to_owned(),
        bytes,
    })
}
