//! How a service's port serves.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use meshwork::server::{Budgets, CallerLimits, Drain, Limits, Resource, ServerTlsOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::metrics::ServiceMetrics;

/// How a service's gRPC port serves.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// TLS and mutual TLS; without a certificate the port speaks plain text.
    pub tls: TlsConfig,
    /// The most connections at once. With one more, the connection that had no call for longest gives way, for 5 s at least, of the
    /// address that has the most; when there is none, the new one is closed.
    pub max_connections: usize,
    /// The most connections of one address. 0: no limit.
    pub max_connections_per_address: usize,
    /// The most connections at once that have not set up TLS and HTTP/2 yet. With one more, the oldest of the address that has
    /// the most is closed.
    pub max_handshakes: NonZeroU32,
    /// The most such connections of one address. With one more, its oldest is closed. 0: no limit.
    pub max_handshakes_per_address: usize,
    /// How long a connection may take to set up TLS and HTTP/2.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub handshake_timeout: Duration,
    /// Ends connections that had no call for so long. 0: never.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub max_connection_idle: Duration,
    /// Ends connections of this age, give or take 10 %, so that callers spread over new instances. 0: never.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub max_connection_age: Duration,
    /// The most calls of one connection at once, streams included, as its client is told (SETTINGS_MAX_CONCURRENT_STREAMS).
    pub max_calls_per_connection: NonZeroU32,
    /// So many bytes of a call's request may come before its handler reads them.
    pub stream_window: NonZeroU32,
    /// So many bytes of all requests of a connection may come before handlers read them. It is 65,535 at least.
    pub connection_window: NonZeroU32,
    /// The most calls in flight, streams apart. What is above is refused at once as UNAVAILABLE, so that what is below stays
    /// quick.
    pub max_in_flight: usize,
    /// The most calls in flight of one account. What is above is refused as RESOURCE_EXHAUSTED. 0: no limit.
    pub max_in_flight_per_account: usize,
    /// The most calls in flight of callers without an account at one address. 0: no limit.
    pub max_in_flight_per_stranger: usize,
    /// The most calls in flight of one address, whoever they belong to. 0: no limit, as it must be where all callers come
    /// through the gateway.
    pub max_in_flight_per_address: usize,
    /// The most streams that are open, of all callers together, beside 4 of each. What is above is refused as
    /// RESOURCE_EXHAUSTED. 0: no limit.
    pub max_streams: usize,
    /// The most streams of one account. 0: no limit.
    pub max_streams_per_account: usize,
    /// The most streams of callers without an account at one address. 0: no limit.
    pub max_streams_per_stranger: usize,
    /// The most streams of one address, whoever they belong to. 0: no limit, as it must be where all callers come through
    /// the gateway.
    pub max_streams_per_address: usize,
    /// How long the first message of a call may take, and the only one of a call with one. Before it is there, a call holds
    /// nothing.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub first_message_timeout: Duration,
    /// The most bytes of messages on their way that are held for one address.
    pub max_arriving_bytes_per_address: usize,
    /// The most bytes of messages on their way that are held in all, beside 64 KiB for each address.
    pub max_arriving_bytes: usize,
    /// The most bytes of answers that wait to be read, of one account. A call above it ends as RESOURCE_EXHAUSTED.
    pub max_unread_bytes_per_account: usize,
    /// The most bytes of answers that wait to be read, of callers without an account at one address, and of what its
    /// connections have on its way, above 16 KiB each. A connection is not refused more of these: it waits for those it has.
    pub max_unread_bytes_per_stranger: usize,
    /// The most bytes of answers that wait to be read, of one address. 0: no limit, as it must be where all callers come
    /// through the gateway.
    pub max_unread_bytes_per_address: usize,
    /// The most bytes of answers that wait to be read in all, beside 256 KiB for each caller.
    pub max_unread_bytes: usize,
    /// How many bytes the kernel keeps of one connection for a caller that has not read them. A connection can't be faster than
    /// these bytes in one round trip: 256 KiB are 21 Mbit/s at 100 ms. Linux takes `net.core.wmem_max` at most. 0: as the
    /// system says, which adapts to the path, up to 4 MiB.
    pub max_send_buffer: usize,
    /// So many bytes of a connection's answers may wait for its socket. With more, the rest of the answers waits, and is held as
    /// bytes that wait to be read.
    pub max_unwritten_bytes_per_connection: usize,
    /// How long a caller may take to read the next byte of its answer.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub slow_reader_timeout: Duration,
    /// The most open streams that nobody needs a token for, watches of the port's health and reflection, of all callers
    /// together, beside 4 of each. 0: no limit.
    pub max_watches: usize,
    /// The most of these streams of one address. 0: no limit.
    pub max_watches_per_address: usize,
    /// The most of these streams of one connection.
    pub max_watches_per_connection: usize,
    /// The most bytes of a call's headers, as HTTP/2 counts them.
    pub max_header_list_size: u32,
    /// The most bytes of a message; at most 4 MiB.
    pub max_message_size: usize,
    /// How long a call may take at most, streams included, whatever its caller allows. 0: as long as its caller allows.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// Whether the contracts can be asked for by reflection, without a token.
    pub reflection: bool,
    /// How many messages one address may send to reflection at once, after a pause. A stream counts as one, too.
    pub max_reflection_messages: NonZeroU32,
    /// How many messages per second one address may send to reflection in the long run.
    pub max_reflection_messages_per_second: NonZeroU32,
    /// How long it may take to verify a token, with the wait for its key. A call is refused as UNAVAILABLE then.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub verification_timeout: Duration,
    /// How long the port serves on after SIGTERM although it says NOT_SERVING, so that callers learn of it first. `up` takes 0
    /// unless it is set.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub drain_delay: Duration,
    /// How long calls may take to end after that.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub drain_grace: Duration,
    /// Cancelled when the grace is over, however much is left of it: for several ports of a process.
    #[serde(skip)]
    pub drain_deadline: Option<CancellationToken>,
    /// Who may name the address of the caller whose call they pass on, as the gateway does (`meshwork-client-address`): addresses,
    /// networks such as 172.16.0.0/12, and names in callers' certificates (SPIFFE IDs or DNS names). From others it is not believed:
    /// they count by the address of their connection. Calls from these that name no address are services' own, as are those of
    /// callers with a certificate that name none: users limits no sign-ins of theirs. Unless it is set it is the
    /// loopback, which is every program on the host: those of its other users too, and a sidecar that passes on what comes from
    /// elsewhere. Where these are not to be trusted, list the name in the gateway's certificate instead. What callers may have at
    /// once is counted by it too, but for connections, which count for the address that they come from. Balancers that name their
    /// clients by the PROXY protocol are listed here as well, by addresses and networks. Who comes by a Unix socket has no address:
    /// it may name callers where the loopback is listed, and where it names none, all of them count as one, as `address:0.0.0.0`,
    /// and the services are told that their address is `unknown`.
    pub trusted_proxies: Vec<String>,
    /// Whether these may name a caller in `X-Forwarded-For` as well, as balancers of HTTP do: the right-most address there that is none
    /// of theirs. Each of them has to write the header, or what its client has written there is believed. On for the gateway.
    pub forwarded_for: bool,
    /// The budgets of the port, for who shows them while it serves; no setting.
    #[serde(skip)]
    pub budgets: Option<Budgets>,
    /// Measures the calls of the port; no setting.
    #[serde(skip)]
    pub metrics: Option<ServiceMetrics>,
}

/// The certificates of a port. The files are read again when they change.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// A PEM file with the port's certificate and its intermediates. Empty: no TLS.
    pub certificate: PathBuf,
    /// A PEM file with the certificate's key.
    pub key: PathBuf,
    /// A PEM file with the roots of the callers' certificates: mutual TLS. Empty: callers need no certificate.
    pub client_ca: PathBuf,
    /// Who may connect: SPIFFE IDs or DNS names of the callers' certificates; a SPIFFE ID may end in `/*`. Empty: all whom
    /// `client_ca` vouches for.
    pub allowed_peers: Vec<String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let (drain, limits) = (Drain::default(), Limits::default());
        let of = |resource| limits.get(resource);
        let (calls, streams) = (of(Resource::Calls), of(Resource::Streams));
        let (arriving, unread) = (of(Resource::ArrivingBytes), of(Resource::UnreadBytes));
        let watches = of(Resource::Watches);
        Self {
            tls: TlsConfig::default(),
            max_connections: of(Resource::Connections).total,
            max_connections_per_address: of(Resource::Connections).per_address,
            max_handshakes: const { NonZeroU32::new(512).unwrap() },
            max_handshakes_per_address: 256,
            handshake_timeout: Duration::from_secs(10),
            max_connection_idle: Duration::from_secs(15 * 60),
            max_connection_age: Duration::ZERO,
            max_calls_per_connection: const { NonZeroU32::new(1024).unwrap() },
            stream_window: const { NonZeroU32::new(1 << 20).unwrap() },
            connection_window: const { NonZeroU32::new(1 << 20).unwrap() },
            max_in_flight: calls.total,
            max_in_flight_per_account: calls.per_principal,
            max_in_flight_per_stranger: calls.per_stranger,
            max_in_flight_per_address: calls.per_address,
            max_streams: streams.total,
            max_streams_per_account: streams.per_principal,
            max_streams_per_stranger: streams.per_stranger,
            max_streams_per_address: streams.per_address,
            first_message_timeout: Duration::from_secs(10),
            max_arriving_bytes_per_address: arriving.per_address,
            max_arriving_bytes: arriving.total,
            max_unread_bytes_per_account: unread.per_principal,
            max_unread_bytes_per_stranger: unread.per_stranger,
            max_unread_bytes_per_address: unread.per_address,
            max_unread_bytes: unread.total,
            max_send_buffer: 0,
            max_unwritten_bytes_per_connection: 128 << 10,
            slow_reader_timeout: Duration::from_secs(60),
            max_watches: watches.total,
            max_watches_per_address: watches.per_address,
            max_watches_per_connection: 100,
            // More than a public port takes: what the gateway adds to a call still fits.
            max_header_list_size: 24 << 10,
            max_message_size: 4 << 20,
            timeout: Duration::ZERO,
            reflection: true,
            max_reflection_messages: const { NonZeroU32::new(1000).unwrap() },
            max_reflection_messages_per_second: const { NonZeroU32::new(100).unwrap() },
            verification_timeout: Duration::from_secs(10),
            drain_delay: drain.delay,
            drain_grace: drain.grace,
            drain_deadline: None,
            trusted_proxies: ["127.0.0.0/8", "::1/128"].map(str::to_owned).into(),
            forwarded_for: false,
            budgets: None,
            metrics: None,
        }
    }
}

impl TlsConfig {
    /// How the port speaks TLS; `None` when it doesn't.
    pub fn options(&self) -> Option<ServerTlsOptions> {
        let set = |path: &PathBuf| !path.as_os_str().is_empty();
        if !set(&self.certificate) && !set(&self.key) {
            return None;
        }
        let mut options = ServerTlsOptions::new().identity_files(&self.certificate, &self.key);
        if set(&self.client_ca) {
            options = options.client_ca_certificate_file(&self.client_ca);
        }
        if !self.allowed_peers.is_empty() {
            options = options.allowed_peers(&self.allowed_peers);
        }
        Some(options)
    }
}

impl ServerConfig {
    /// For a port that everybody may reach: one address gets a share of what all may have, and a call less metadata than
    /// the services behind the port take.
    #[must_use]
    pub fn public(self) -> Self {
        Self {
            // Each costs the port and the service behind it memory, some 40 KiB together.
            max_streams: 1024,
            max_streams_per_stranger: self.max_streams_per_account,
            max_streams_per_address: 256,
            max_in_flight_per_account: 512,
            max_in_flight_per_stranger: 512,
            max_in_flight_per_address: 2048,
            max_connections_per_address: 512,
            max_calls_per_connection: const { NonZeroU32::new(256).unwrap() },
            max_unread_bytes_per_account: 4 << 20,
            max_unread_bytes_per_stranger: 4 << 20,
            max_unread_bytes_per_address: 16 << 20,
            // Three messages of 4 MiB at once, that come slowly.
            max_arriving_bytes_per_address: 12 << 20,
            max_header_list_size: 16 << 10,
            // The kernel keeps some 450 KiB of a connection then, in place of 3.5 MiB.
            max_send_buffer: 256 << 10,
            trusted_proxies: Vec::new(),
            forwarded_for: true,
            ..self
        }
    }

    /// What callers may have at once.
    pub fn limits(&self) -> Limits {
        let limits = Limits::default();
        let own = |resource| limits.get(resource).own;
        let calls = CallerLimits {
            total: self.max_in_flight,
            per_principal: self.max_in_flight_per_account,
            per_stranger: self.max_in_flight_per_stranger,
            per_address: self.max_in_flight_per_address,
            own: own(Resource::Calls),
        };
        let streams = CallerLimits {
            total: self.max_streams,
            per_principal: self.max_streams_per_account,
            per_stranger: self.max_streams_per_stranger,
            per_address: self.max_streams_per_address,
            own: own(Resource::Streams),
        };
        let connections = CallerLimits {
            total: self.max_connections,
            per_address: self.max_connections_per_address,
            ..limits.get(Resource::Connections)
        };
        let arriving = CallerLimits {
            total: self.max_arriving_bytes,
            per_address: self.max_arriving_bytes_per_address,
            ..limits.get(Resource::ArrivingBytes)
        };
        let unread = CallerLimits {
            total: self.max_unread_bytes,
            per_principal: self.max_unread_bytes_per_account,
            per_stranger: self.max_unread_bytes_per_stranger,
            per_address: self.max_unread_bytes_per_address,
            ..limits.get(Resource::UnreadBytes)
        };
        let watches = CallerLimits {
            total: self.max_watches,
            per_address: self.max_watches_per_address,
            ..limits.get(Resource::Watches)
        };
        limits
            .clone()
            .with(Resource::Calls, calls)
            .with(Resource::Streams, streams)
            .with(Resource::Watches, watches)
            .with(Resource::Connections, connections)
            .with(Resource::ArrivingBytes, arriving)
            .with(Resource::UnreadBytes, unread)
    }

    /// What callers have at once, held to [`ServerConfig::limits`]: those that [`ServerConfig::open_budgets`] has opened, or new
    /// ones.
    pub fn budgets(&self) -> Budgets {
        self.budgets.clone().unwrap_or_else(|| Budgets::new(self.limits()))
    }

    /// Opens the budgets that a port by these settings, and by clones of them, will have. Settings that change later change
    /// no limit of theirs.
    pub fn open_budgets(&mut self) -> Budgets {
        self.budgets.insert(Budgets::new(self.limits())).clone()
    }

    /// How the port stops.
    pub fn drain(&self) -> Drain {
        Drain { delay: self.drain_delay, grace: self.drain_grace, ..Drain::default() }
    }
}
