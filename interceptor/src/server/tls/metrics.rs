//! What TLS shows of itself to Prometheus.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of TLS to clients. A cheap clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsMetrics {
    /// Handshakes that were finished.
    pub(super) handshakes: Counter,
    /// Handshakes that failed, or took too long.
    pub(super) failures: Counter,
    /// When each certificate ends, in seconds since 1970 UTC.
    pub(super) ends: Family<CertificateFile, Gauge>,
    /// Files that are spoilt now; what they held before is still used.
    pub(super) problems: Gauge,
}

/// Which certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CertificateFile {
    pub(super) path: String,
}

impl TlsMetrics {
    /// The certificate of this file ends then, in seconds since 1970 UTC.
    pub(crate) fn ends_at(&self, path: String, ends_at_s: i64) {
        self.ends.get_or_create(&CertificateFile { path }).set(ends_at_s);
    }

    /// Registers all of them; their names begin with `tls_`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tls");
        registry.register("handshakes", "TLS handshakes with clients that were finished", self.handshakes.clone());
        registry.register(
            "handshake_failures",
            "TLS handshakes with clients that failed or took too long",
            self.failures.clone(),
        );
        registry.register(
            "certificate_end_timestamp_seconds",
            "When a certificate shown to clients ends, in seconds since 1970 UTC",
            self.ends.clone(),
        );
        registry.register(
            "certificate_problems",
            "Certificates, keys and folders that can't be used as they are now",
            self.problems.clone(),
        );
    }
}
