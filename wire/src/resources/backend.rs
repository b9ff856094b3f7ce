//! Where a workload's requests go, and how they are sent there.

/// A service and its port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Backend {
    /// In a cluster a Service of the workload's namespace; in route files a host name or an address.
    pub service: String,
    /// Its port.
    pub port: Port,
}

/// A port by number or by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Port {
    /// By number.
    Number(u16),
    /// By the name it has in the Service.
    Name(String),
}

/// The protocol that a workload's endpoints speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum BackendProtocol {
    /// HTTP/1.1 in clear text.
    #[default]
    Http1,
    /// HTTP/2 in clear text, from the first byte on; gRPC too.
    H2c,
    /// TLS, with HTTP/2 or HTTP/1.1 inside as the two agree (ALPN).
    Https,
    /// TLS with HTTP/2 inside and nothing else.
    H2,
}

/// What keeps a client at one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Affinity {
    /// A cookie that names the endpoint.
    Cookie,
}

impl BackendProtocol {
    /// The protocol of this name: our own names, and the values of a Service's `appProtocol` that mean one of them.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "http1" | "http" | "kubernetes.io/ws" => Some(Self::Http1),
            "h2c" | "kubernetes.io/h2c" | "grpc" => Some(Self::H2c),
            "https" | "kubernetes.io/wss" => Some(Self::Https),
            "h2" => Some(Self::H2),
            _ => None,
        }
    }
}
