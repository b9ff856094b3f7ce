//! Making a connection ready: reaching the broker, and finding out whether it speaks what is spoken here.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::address::Address;
use super::connection::{Connection, Stream};
use super::failure::Failure;
use super::messages::ends::LIST_OFFSETS;
use super::messages::fetch::FETCH;
use super::messages::{self, Api, METADATA, PRODUCE, SASL_AUTHENTICATE, SASL_HANDSHAKE, Spoken};
use super::sasl::Login;
use super::settings::Settings;

/// A new connection takes over when so much of a login's time has passed. Logging in again on the old one would be possible, and is
/// what Kafka's own clients do; a new one needs no code of its own.
const RENEW_AT: f64 = 0.85;

/// A connection that requests can be sent over.
///
/// # Errors
/// [`Failure`] naming the broker, what was tried, and the remedy; after `setup_timeout` at the latest.
pub(super) async fn connect(to: &Address, settings: &Settings) -> Result<Connection, Failure> {
    let limit = settings.setup_timeout;
    match timeout(limit, set_up(to, settings)).await {
        Ok(connected) => connected,
        Err(_) => Err(Failure::lost(to, format_args!("no connection within {limit:?}"))),
    }
}

async fn set_up(to: &Address, settings: &Settings) -> Result<Connection, Failure> {
    let tcp = reach(to, settings).await.map_err(|error| Failure::lost(to, format_args!("can't connect: {error}")))?;
    let stream: Box<dyn Stream> = match &settings.tls {
        None => Box::new(tcp),
        Some(tls) => Box::new(tls.over(tcp, to).await?),
    };
    let mut connection = Connection::new(to.clone(), stream, settings.silence);
    let answer = connection.exchange("asking for its versions", messages::api_versions(&settings.client_id)).await?;
    let (_, spoken) = messages::read_api_versions(&answer).map_err(|garbled| Failure::lost(to, garbled))?;
    for api in [PRODUCE, METADATA, FETCH, LIST_OFFSETS] {
        speaks(to, &spoken, api)?;
    }
    if let Some(credentials) = &settings.sasl {
        speaks(to, &spoken, SASL_HANDSHAKE)?;
        let version = if speaks(to, &spoken, SASL_AUTHENTICATE).is_ok() { SASL_AUTHENTICATE.version } else { 0 };
        let login = Login { connection: &mut connection, client_id: &settings.client_id, credentials, version };
        if let Some(lifetime) = login.run().await? {
            connection.expires(Instant::now() + lifetime.mul_f64(RENEW_AT));
        }
    }
    Ok(connection)
}

/// A TCP connection to any of the broker's addresses.
async fn reach(to: &Address, settings: &Settings) -> io::Result<TcpStream> {
    let found = lookup_host((&*to.host, to.port)).await?;
    let addresses: Vec<SocketAddr> = found.filter(|address| settings.family.allows(address)).collect();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    // One that does not answer leaves time for the others.
    let limit = settings.setup_timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for address in addresses {
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                tcp.set_nodelay(true)?;
                return Ok(tcp);
            }
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::Error::new(io::ErrorKind::TimedOut, format!("{address} does not answer")),
        }
    }
    Err(failed)
}

/// Whether the broker speaks this version.
fn speaks(to: &Address, spoken: &[Spoken], api: Api) -> Result<(), Failure> {
    let Api { name, key, version } = api;
    match spoken.iter().find(|spoken| spoken.key == key) {
        Some(spoken) if (spoken.min..=spoken.max).contains(&version) => Ok(()),
        spoken => {
            let theirs = match spoken {
                Some(Spoken { min, max, .. }) => format!("it speaks {min} to {max}"),
                None => "it does not know it at all".into(),
            };
            let tried = format!("speaking {name} version {version}");
            Err(Failure::refused(
                to,
                tried,
                format!("{theirs}; brokers from Kafka 2.1 on do, for others use --log-client rdkafka"),
            ))
        }
    }
}
