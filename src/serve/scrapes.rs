//! The texts of the metrics. With thousands of credentials one takes tens of milliseconds, in which nothing else goes on, so
//! who asks more often gets the same text.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;

use crate::serve::metrics::Metrics;

/// So long a scrape gets the text of the one before.
const SCRAPE_COUNTS_FOR: Duration = Duration::from_millis(250);

/// In what form metrics are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    Prometheus,
    OpenMetrics,
}

/// See the module.
#[derive(Clone)]
pub(super) struct Scrapes {
    metrics: Metrics,
    kept: Arc<Mutex<HashMap<Form, Bytes>>>,
}

impl Scrapes {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, kept: Arc::default() }
    }

    /// # Errors
    ///
    /// A collector that fails.
    pub(super) fn text(&self, form: Form) -> Result<Bytes, fmt::Error> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = kept.get(&form) {
            return Ok(text.clone());
        }
        let text: Bytes = match form {
            Form::Prometheus => self.metrics.prometheus()?,
            Form::OpenMetrics => self.metrics.open_metrics()?,
        }
        .into();
        kept.insert(form, text.clone());
        let kept = self.kept.clone();
        tokio::spawn(async move {
            tokio::time::sleep(SCRAPE_COUNTS_FOR).await;
            kept.lock().unwrap_or_else(PoisonError::into_inner).remove(&form);
        });
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn scrapes_in_quick_succession_get_one_text() {
        let scrapes = Scrapes::new(Metrics::default());
        let text = async || {
            // What is due runs first.
            tokio::time::sleep(Duration::from_millis(1)).await;
            scrapes.text(Form::Prometheus).expect("a text")
        };
        let first = text().await;
        scrapes.metrics.coalesced();
        assert_eq!(text().await, first);
        assert_ne!(scrapes.text(Form::OpenMetrics).expect("a text"), first);
        tokio::time::advance(SCRAPE_COUNTS_FOR).await;
        assert_ne!(text().await, first, "and then it is computed anew");
    }
}
