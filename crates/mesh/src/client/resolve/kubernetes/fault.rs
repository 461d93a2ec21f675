//! What goes wrong with the API server, and what to do about it.

use std::error::Error;
use std::time::Duration;

use kube::core::Status;

/// How much of a message is told: a proxy in the way may answer with a page.
const LONGEST: usize = 400;

/// Why a list or a watch has ended.
#[derive(Debug)]
pub(super) enum Fault {
    /// There is no configuration of a client.
    Client(kube::config::InferConfigError),
    /// The API server refused, or could not be asked.
    Api(kube::Error),
    /// There was no answer for so long.
    Late(Duration),
    /// A watch ended as soon as it had begun.
    Short,
    /// An answer came without the version from which to go on.
    NoVersion,
}

impl Fault {
    fn status(&self) -> Option<&Status> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status.as_ref()),
            _ => None,
        }
    }

    /// Whether the API server did not know who asked.
    pub(super) fn is_unauthorized(&self) -> bool {
        self.status().is_some_and(|status| status.code == 401)
    }

    /// Whether the version from which a watch was to go on is too old.
    pub(super) fn is_gone(&self) -> bool {
        self.status().is_some_and(|status| status.code == 410)
    }

    /// Whether asking the same again is of no use: it has to begin with a list. To begin anew each time is also the
    /// best for one who may list but not watch.
    ///
    /// By 500 and 504 an API server also says that it does not know the version yet, as one does whose data was put
    /// back; an event that can't be read would come again each time. `kube` takes such an event for a status of nothing.
    pub(super) fn ends_the_watch(&self) -> bool {
        let refuses = |status: &Status| match status.code {
            401 | 429 => false,
            0 | 400..=500 | 504 => true,
            _ => false,
        };
        let is_unreadable = matches!(self, Self::Api(kube::Error::SerdeError(_)));
        matches!(self, Self::NoVersion) || is_unreadable || self.status().is_some_and(refuses)
    }

    /// One sentence, and what to do.
    pub(super) fn explain(&self, namespace: &str) -> String {
        match (self, self.status()) {
            (_, Some(status)) if status.code == 0 => {
                format!(
                    "the API server sent an event of EndpointSlices that can't be read ({}); they are listed again",
                    shortened(&status.message)
                )
            }
            (_, Some(status)) => {
                let what = match status.code {
                    401 => {
                        "check that the pod's service account token is mounted (automountServiceAccountToken), or the \
                         credentials of the kubeconfig"
                            .to_owned()
                    }
                    403 => format!(
                        "give its service account a Role in the namespace {namespace} with the verbs get, list and \
                         watch for endpointslices of the API group discovery.k8s.io, and a RoleBinding"
                    ),
                    404 => "check that it is the API server of a Kubernetes that has discovery.k8s.io/v1".to_owned(),
                    _ => "it is asked again".to_owned(),
                };
                let message = shortened(&status.message);
                format!("the API server answered {} to a request for EndpointSlices: {message}; {what}", status.code)
            }
            (Self::Client(error), _) => format!(
                "there is no Kubernetes to ask: {}; run in a pod with a mounted service account token, or set KUBECONFIG",
                chain(error)
            ),
            (Self::Api(error), _) => format!(
                "the API server can't be asked: {}; check its address, its certificate, and that NetworkPolicies let this \
                 process reach it",
                chain(error)
            ),
            (Self::Late(limit), _) => format!(
                "the API server gave no answer within {limit:?}; check that NetworkPolicies let this process reach it, and \
                 its load"
            ),
            (Self::Short, _) => "the API server ended a watch of EndpointSlices at once; it is asked again".to_owned(),
            (Self::NoVersion, _) => {
                "the API server's answer has no resourceVersion; check that it is an API server and no cache of one"
                    .to_owned()
            }
        }
    }
}

/// An error with its causes, each told once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    shortened(&text)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
