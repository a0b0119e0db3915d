//! What this daemon was asked, and how long its answers took.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus::{Error, HistogramOpts, HistogramVec};

use super::Page;

/// In seconds: from an answer out of memory to a client that follows a log for an hour.
const BUCKETS: [f64; 9] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0, 60.0];

/// Counts answers by method and status.
#[derive(Clone, Debug)]
pub(crate) struct RequestMeter(Option<HistogramVec>);

impl Default for RequestMeter {
    fn default() -> Self {
        let help = "Time until the head of an answer, by method and status.";
        let options =
            HistogramOpts::new("lote_http_request_seconds", help).buckets(BUCKETS.to_vec());
        // It only fails for names that are none.
        Self(HistogramVec::new(options, &["method", "code"]).ok())
    }
}

impl RequestMeter {
    /// A request was answered.
    pub(crate) fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        if let Some(times) = &self.0 {
            let labels = [known(method), status.as_str()];
            times.with_label_values(&labels).observe(took.as_secs_f64());
        }
    }

    pub(super) fn add(&self, page: &Page) -> Result<(), Error> {
        self.0.as_ref().map_or(Ok(()), |times| page.add(times))
    }
}

/// Strangers may send any word as a method; each would be kept for ever.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_methods_are_counted_together() {
        let meter = RequestMeter::default();
        for method in ["GET", "BREW", "PROPFIND"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            meter.answered(&method, StatusCode::OK, Duration::from_millis(2));
        }
        let page = Page::new();
        meter.add(&page).unwrap();
        let families = page.0.gather();
        assert_eq!(families[0].get_metric().len(), 2);
    }
}
