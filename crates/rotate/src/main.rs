//! `authkeys-rotate`: rotates an SSH key pair as a rotation function of Secrets Manager on Lambda.
//! Its settings are environment variables, which docs/rotate.md describes.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Deserialize;
use serde_json::Value;

use authkeysctl::function::{self, RotationRequest, Step};

/// The event that Secrets Manager sends.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    secret_id: String,
    client_request_token: String,
    step: String,
    rotation_token: Option<String>,
}

fn main() -> ExitCode {
    function::prepare();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ran = match runtime {
        Ok(runtime) => runtime.block_on(lambda_runtime::run(service_fn(rotate))),
        Err(fault) => Err(fault.into()),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("authkeys-rotate: {fault}");
            ExitCode::FAILURE
        }
    }
}

async fn rotate(event: LambdaEvent<Event>) -> Result<Value, Error> {
    let (event, context) = event.into_parts();
    let request = RotationRequest {
        step: Step::parse(&event.step)?,
        secret: event.secret_id,
        token: event.client_request_token,
        rotation_token: event.rotation_token,
    };
    let left = left(context.deadline());
    // Boxed, because the type of this future is nested too deeply for the compiler.
    Box::pin(function::run(
        &request,
        |name| std::env::var(name).ok(),
        left,
    ))
    .await?;
    Ok(Value::Null)
}

#[expect(
    clippy::disallowed_methods,
    reason = "Lambda gives the end of an invocation as a time of the clock"
)]
fn left(deadline: SystemTime) -> Duration {
    deadline
        .duration_since(SystemTime::now())
        .unwrap_or_default()
}
