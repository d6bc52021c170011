//! The headers of PutObject that request an encryption.

use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::types::ServerSideEncryption;

use authkeys_core::encryption::Encryption;

/// The request with those headers; without an encryption, the bucket's own setting applies.
pub(crate) fn encrypted(
    request: PutObjectFluentBuilder,
    by: Option<&Encryption>,
) -> PutObjectFluentBuilder {
    match by {
        None => request,
        Some(Encryption::Aes256) => request.server_side_encryption(ServerSideEncryption::Aes256),
        Some(Encryption::Kms(key)) => request
            .server_side_encryption(ServerSideEncryption::AwsKms)
            .set_ssekms_key_id(key.clone()),
    }
}
