//! What a body that failed tells its caller.

use tonic::Status;
use tonic::codegen::StdError;

use crate::transport::TransportError;

/// The status that `error` of a body stands for, whose code and sources are kept.
pub(super) fn status_of(error: StdError) -> Status {
    let error = match error.downcast::<Status>() {
        Ok(status) => return *status,
        Err(error) => error,
    };
    match error.downcast::<TransportError>() {
        Ok(error) => error.into_status(),
        Err(error) => Status::from_error(error),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn an_error_of_the_transport_keeps_its_code() {
        let status = status_of(TransportError::unavailable("the connection broke").into());
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "the connection broke"));
        assert!(std::error::Error::source(&status).is_some_and(|source| source.is::<TransportError>()));
    }

    #[test]
    fn a_status_stays_as_it_is_and_other_errors_are_unknown() {
        let mut status = Status::not_found("no such order");
        status.set_source(std::sync::Arc::new(crate::outcome::CallerFault));
        let same = status_of(status.into());
        assert_eq!((same.code(), same.message()), (Code::NotFound, "no such order"));
        assert!(std::error::Error::source(&same).is_some());
        assert_eq!(status_of("something".into()).code(), Code::Unknown);
    }
}
