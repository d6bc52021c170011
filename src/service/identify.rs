//! Finds out which instance this is, in the background: nothing waits for it.

use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;

use authkeys_core::caught::caught;

/// The source of the instance's id, used once.
pub struct Identify(Option<Pin<Box<dyn Future<Output = Option<String>>>>>);

impl Identify {
    /// Uses the given question. Its answer `None` means that this is not an instance.
    pub fn by(asking: impl Future<Output = Option<String>> + 'static) -> Self {
        Self(Some(Box::pin(asking)))
    }

    /// Ends when the id is known, and only then.
    pub(super) async fn found(&mut self) -> String {
        if let Some(asking) = &mut self.0 {
            let answer = caught(asking).await;
            self.0 = None;
            if let Ok(Some(id)) = answer {
                return id;
            }
        }
        pending().await
    }
}

impl fmt::Debug for Identify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identify").field(&self.0.is_some()).finish()
    }
}
