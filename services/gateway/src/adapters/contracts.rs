//! The contracts, as descriptors tell them: those of this build, and those of upstreams that the configuration adds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;

use bytes::Bytes;
use meshwork_api::FILE_DESCRIPTOR_SET;
use meshwork_api::meshwork::options::v1::Caller;
use meshwork_chassis::ServeError;
use meshwork_chassis::auth::AccessTable;
use prost::Message;
use prost_reflect::{DescriptorPool, ExtensionDescriptor, MethodDescriptor, ServiceDescriptor};
use prost_types::FileDescriptorProto;
use prost_types::method_options::IdempotencyLevel;

use crate::domain::{Admits, CallerKind, InvalidRoutes, Method, OfferedMethod, UpstreamName};
use crate::ports::{Contracts, Described, Descriptors};

/// The option that says whom a method admits.
const ACCESS: &str = "meshwork.options.v1.access";
/// What every port has of its own, and nobody offers for others.
const OWN: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
/// The most methods that all upstreams of the configuration have together.
const MAX_METHODS: usize = 10_000;
/// How many characters of what descriptors say are told.
const SHOWN: usize = 300;

/// A `FileDescriptorSet` whose files stay as they are encoded: options that nobody knows here would be lost else.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EncodedFiles {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub file: Vec<Bytes>,
}

/// The contracts that this program was built with, and what others add to them.
#[derive(Clone, Debug)]
pub struct BuiltIn {
    pool: DescriptorPool,
    methods: Vec<Method>,
}

impl BuiltIn {
    /// Reads the contracts of this build.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn load() -> Result<Self, ServeError> {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).map_err(|error| {
            ServeError::new(
                format!("the contracts can't be read: {error}"),
                "this program is damaged; install it again",
            )
        })?;
        let access = AccessTable::from_contracts()?.without_internal();
        let mut methods = Vec::new();
        for service in pool.services() {
            methods.extend(service.methods().map(|method| Method {
                package: service.package_name().to_owned(),
                service: service.name().to_owned(),
                name: method.name().to_owned(),
                reads: reads(&method),
            }));
        }
        methods.retain(|method| access.get(&method.path()).is_some());
        Ok(Self { pool, methods })
    }

    /// The full names of the services that people may call.
    pub fn services(&self) -> BTreeSet<String> {
        self.methods.iter().map(Method::full_service).collect()
    }

    /// The contracts, with those of `files`, which [`Contracts::read`] has found to fit.
    ///
    /// # Errors
    /// When they don't.
    pub(super) fn pool_with(&self, files: &Descriptors) -> Result<DescriptorPool, InvalidRoutes> {
        let mut pool = self.pool.clone();
        let encoded = EncodedFiles { file: files.to_vec() }.encode_to_vec();
        pool.decode_file_descriptor_set(&*encoded).map_err(|error| InvalidRoutes::new("upstreams", unfit(error)))?;
        Ok(pool)
    }
}

impl Contracts for BuiltIn {
    fn methods(&self) -> Vec<Method> {
        self.methods.clone()
    }

    fn reserved(&self) -> BTreeSet<String> {
        let shop = self.pool.services().map(|service| service.full_name().to_owned());
        shop.chain(OWN.map(str::to_owned)).collect()
    }

    fn read(&self, descriptors: &BTreeMap<UpstreamName, Descriptors>) -> Result<Described, InvalidRoutes> {
        let mut merged = Merged {
            shop: &self.pool,
            pool: self.pool.clone(),
            files: Vec::new(),
            origins: HashMap::new(),
            hidden: BTreeMap::new(),
        };
        let mut services = BTreeMap::new();
        for (upstream, own) in descriptors {
            let names = merged.add(upstream, own)?;
            services.insert(upstream.clone(), merged.describe(names));
        }
        let methods = services.values().flat_map(BTreeMap::values).map(Vec::len).sum::<usize>();
        if methods > MAX_METHODS {
            let problem = format!("have {methods} methods together; at most {MAX_METHODS} are taken");
            return Err(InvalidRoutes::new("upstreams", problem));
        }
        Ok(Described { services, hidden: merged.hidden, files: merged.files.into() })
    }
}

/// The contracts of this build and of upstreams in one pool. What is there first holds: the files of this build before all
/// others.
struct Merged<'a> {
    shop: &'a DescriptorPool,
    pool: DescriptorPool,
    files: Vec<Bytes>,
    /// The files that were added, by name, each with who has brought it.
    origins: HashMap<String, (UpstreamName, FileDescriptorProto)>,
    /// As of [`Described`].
    hidden: BTreeMap<UpstreamName, BTreeMap<String, String>>,
}

impl Merged<'_> {
    /// Adds the descriptors of `upstream`; the names of the services in its files, as far as they aren't the shop's.
    fn add(&mut self, upstream: &UpstreamName, descriptors: &Descriptors) -> Result<BTreeSet<String>, InvalidRoutes> {
        let wrong = |problem: String| InvalidRoutes::new(format!("upstreams.{upstream}"), problem);
        let (mut names, mut new) = (BTreeSet::new(), Vec::new());
        for encoded in descriptors.iter() {
            let mut file = FileDescriptorProto::decode(encoded.clone())
                .map_err(|error| wrong(format!("has a file of descriptors that can't be read: {error}")))?;
            // Every port has its own of what it has of its own.
            let is_own =
                OWN.iter().any(|own| own.rsplit_once('.').is_some_and(|(package, _)| package == file.package()));
            if is_own {
                continue;
            }
            let dot = if file.package().is_empty() { "" } else { "." };
            let own = file.service.iter().map(|service| format!("{}{dot}{}", file.package(), service.name()));
            if self.shop.get_file_by_name(file.name()).is_some() {
                let unknown = own.filter(|service| self.shop.get_service_by_name(service).is_none());
                let unknown = unknown.map(|service| (service, shown(file.name()))).collect::<BTreeMap<_, _>>();
                self.hidden.entry(upstream.clone()).or_default().extend(unknown);
                continue;
            }
            names.extend(own);
            // Comments change nothing.
            file.source_code_info = None;
            match self.origins.get(file.name()) {
                None => {
                    self.origins.insert(file.name().to_owned(), (upstream.clone(), file));
                    new.push(encoded.clone());
                }
                Some((_, same)) if *same == file => {}
                Some((other, _)) => {
                    let name = shown(file.name());
                    let problem = format!("has another {name} than {other}: one file of descriptors has one content");
                    return Err(wrong(problem));
                }
            }
        }
        let encoded = EncodedFiles { file: new.clone() }.encode_to_vec();
        self.pool.decode_file_descriptor_set(&*encoded).map_err(|error| wrong(unfit(error)))?;
        self.files.extend(new);
        Ok(names)
    }

    /// The services of these names with their methods.
    fn describe(&self, names: BTreeSet<String>) -> BTreeMap<String, Vec<OfferedMethod>> {
        let access = self.pool.get_extension_by_name(ACCESS);
        let mut services = BTreeMap::new();
        for name in names {
            if let Some(service) = self.pool.get_service_by_name(&name) {
                services.insert(name, methods(&service, access.as_ref()));
            }
        }
        services
    }
}

fn methods(service: &ServiceDescriptor, access: Option<&ExtensionDescriptor>) -> Vec<OfferedMethod> {
    let method = |method: MethodDescriptor| OfferedMethod {
        name: method.name().to_owned(),
        reads: reads(&method),
        admits: access.and_then(|access| declared(&method, access)),
    };
    service.methods().map(method).collect()
}

/// Whether the health service is in these files.
pub(super) fn has_health(descriptors: &Descriptors) -> bool {
    let [health, ..] = OWN;
    descriptors
        .iter()
        .filter_map(|encoded| FileDescriptorProto::decode(encoded.clone()).ok())
        .any(|file| file.service.iter().any(|service| format!("{}.{}", file.package(), service.name()) == health))
}

/// Whether a method changes nothing.
fn reads(method: &MethodDescriptor) -> bool {
    let options = method.method_descriptor_proto().options.as_ref();
    options.is_some_and(|options| options.idempotency_level() == IdempotencyLevel::NoSideEffects)
}

/// Whom a method admits by its option; `None` when it names nobody.
fn declared(method: &MethodDescriptor, option: &ExtensionDescriptor) -> Option<Admits> {
    let options = method.options();
    let value = options.get_extension(option);
    let callers = value.as_message()?.get_field_by_name("callers")?;
    let callers = callers.as_list()?.iter().filter_map(|caller| Caller::try_from(caller.as_enum_number()?).ok());
    let callers: Vec<_> = callers.collect();
    if callers.contains(&Caller::Anyone) {
        return Some(Admits::Anyone);
    }
    if callers.contains(&Caller::Owner) {
        return Some(Admits::SignedIn);
    }
    let kinds: BTreeSet<_> = callers
        .into_iter()
        .filter_map(|caller| match caller {
            Caller::Staff => Some(CallerKind::Staff),
            Caller::Service => Some(CallerKind::Service),
            Caller::Unspecified | Caller::Anyone | Caller::Owner => None,
        })
        .collect();
    (!kinds.is_empty()).then_some(Admits::Kinds(kinds))
}

fn unfit(error: impl Display) -> String {
    format!(
        "has descriptors that don't fit together, with those of the gateway and of other upstreams: {}",
        shown(error)
    )
}

/// A text of somebody else's, as much of it as is told.
pub(super) fn shown(text: impl Display) -> String {
    text.to_string().chars().filter(|character| !character.is_control()).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{RouteSettings, RouteTable, Upstream};

    fn name(name: &str) -> UpstreamName {
        UpstreamName::new(name).unwrap()
    }

    /// A file with a service of one method, which takes and answers what `imports` has as `message`.
    fn file(name: &str, package: &str, import: &str, message: &str) -> FileDescriptorProto {
        let method = prost_types::MethodDescriptorProto {
            name: Some("Get".to_owned()),
            input_type: Some(message.to_owned()),
            output_type: Some(message.to_owned()),
            ..Default::default()
        };
        let service = prost_types::ServiceDescriptorProto {
            name: Some("Weather".to_owned()),
            method: vec![method],
            ..Default::default()
        };
        FileDescriptorProto {
            name: Some(name.to_owned()),
            package: Some(package.to_owned()),
            dependency: vec![import.to_owned()],
            service: vec![service],
            syntax: Some("proto3".to_owned()),
            ..Default::default()
        }
    }

    fn weather(name: &str, package: &str) -> FileDescriptorProto {
        file(name, package, "google/protobuf/timestamp.proto", ".google.protobuf.Timestamp")
    }

    fn read(upstreams: &[(&str, &[FileDescriptorProto])]) -> Result<Described, InvalidRoutes> {
        let encoded = |files: &[FileDescriptorProto]| -> Descriptors {
            files.iter().map(|file| Bytes::from(file.encode_to_vec())).collect()
        };
        let upstreams = upstreams.iter().map(|(upstream, files)| (name(upstream), encoded(files)));
        BuiltIn::load().unwrap().read(&upstreams.collect::<BTreeMap<_, _>>())
    }

    #[test]
    fn every_service_that_people_may_call_has_a_route() {
        let contracts = BuiltIn::load().unwrap();
        let routes =
            RouteTable::new(contracts.methods(), &contracts.reserved(), &RouteSettings::default(), Vec::new()).unwrap();
        let routed: Vec<_> = routes.services().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(routed, AccessTable::from_contracts().unwrap().without_internal().services());
        for upstream in Upstream::ALL.map(UpstreamName::from) {
            let goes = routes.services().any(|(_, upstreams)| upstreams.contains(&upstream));
            assert!(goes, "nothing goes to {upstream}");
        }
    }

    #[test]
    fn what_reads_and_whom_it_admits_come_of_the_options() {
        let contracts = BuiltIn::load().unwrap();
        let of = |name: &str| contracts.methods.iter().find(|method| method.name == name).unwrap().reads;
        assert!(of("GetOrder") && !of("CreateOrder"));
        let access = contracts.pool.get_extension_by_name(ACCESS).unwrap();
        let admits = |service: &str, method: &str| {
            let service = contracts.pool.get_service_by_name(service).unwrap();
            methods(&service, Some(&access)).into_iter().find(|known| known.name == method).unwrap().admits
        };
        assert_eq!(admits("meshwork.orders.v1.OrderService", "GetOrder"), Some(Admits::SignedIn));
        assert_eq!(admits("meshwork.users.v1.AuthService", "SignIn"), Some(Admits::Anyone));
        let internal = admits("meshwork.admin.v1.EventSourceService", "ReadStream");
        assert_eq!(internal, Some(Admits::Kinds([CallerKind::Service].into())));
    }

    #[test]
    fn upstreams_share_files_that_are_the_same_and_no_others() {
        let common = weather("common.proto", "common");
        let own = |package: &str| weather(&format!("{package}.proto"), package);
        let described = read(&[("a", &[common.clone(), own("a")]), ("b", &[own("b"), common.clone()])]).unwrap();
        assert_eq!(described.files.len(), 3);
        let services = |upstream: &str| described.services[upstream].keys().cloned().collect::<Vec<_>>();
        assert_eq!(services("a"), ["a.Weather", "common.Weather"]);
        assert_eq!(services("b"), ["b.Weather", "common.Weather"]);

        let mut other = common.clone();
        other.service[0].method[0].name = Some("Set".to_owned());
        let refused = read(&[("a", std::slice::from_ref(&common)), ("b", &[other])]).unwrap_err();
        assert_eq!(refused.key, "upstreams.b");
        assert!(refused.problem.starts_with("has another common.proto than a: "), "{refused}");
        // Two files of one symbol.
        let refused = read(&[("a", &[common]), ("b", &[weather("another.proto", "common")])]).unwrap_err();
        assert!(refused.key == "upstreams.b" && refused.problem.contains("common.Weather"), "{refused}");
    }

    #[test]
    fn what_is_broken_is_refused_with_its_upstream_and_in_a_short_sentence() {
        let missing = file("a.proto", "a", "no.proto", ".no.Message");
        let refused = read(&[("a", &[missing])]).unwrap_err();
        assert!(refused.key == "upstreams.a" && refused.problem.contains("no.proto"), "{refused}");
        let long = file("a.proto", "a", &"long".repeat(10_000), ".no.Message");
        assert!(read(&[("a", &[long])]).unwrap_err().problem.len() < 500);
        let torn = BTreeMap::from([(name("a"), Descriptors::from([Bytes::from_static(b"\xff")]))]);
        let refused = BuiltIn::load().unwrap().read(&torn).unwrap_err();
        assert!(refused.problem.contains("can't be read"), "{refused}");
    }

    #[test]
    fn whether_there_is_a_health_service_stands_in_the_files() {
        let mut health = weather("health.proto", "grpc.health.v1");
        health.service[0].name = Some("Health".to_owned());
        let encoded = |file: &FileDescriptorProto| Bytes::from(file.encode_to_vec());
        let weather = encoded(&weather("weather.proto", "weather.v1"));
        assert!(has_health(&Descriptors::from([weather.clone(), encoded(&health)])));
        assert!(!has_health(&Descriptors::from([weather])));
    }

    #[test]
    fn the_files_of_the_gateway_hold_and_their_services_are_reserved() {
        let described = read(&[("a", &[weather("meshwork/orders/v1/orders.proto", "evil")])]).unwrap();
        assert!(described.files.is_empty() && described.services["a"].is_empty());
        let hidden = ("evil.Weather".to_owned(), "meshwork/orders/v1/orders.proto".to_owned());
        assert_eq!(described.hidden[&name("a")], BTreeMap::from([hidden]));
        let reserved = BuiltIn::load().unwrap().reserved();
        for service in ["meshwork.admin.v1.EventSourceService", "grpc.health.v1.Health"] {
            assert!(reserved.contains(service), "{service}");
        }
    }
}
