//! `org.varlink.service`: what every varlink service tells of itself, and its errors.

use osctl_api::{INTERFACE, introspect, wire};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Interface of the methods that every varlink service has.
pub(super) const SERVICE: &str = "org.varlink.service";

#[derive(Serialize)]
struct Info<'a> {
    vendor: &'a str,
    product: &'a str,
    version: &'a str,
    url: &'a str,
    interfaces: [&'a str; 2],
}

#[derive(Serialize)]
struct Description<'a> {
    description: &'a str,
}

#[derive(Deserialize)]
struct Wanted<'a> {
    interface: std::borrow::Cow<'a, str>,
}

/// Answers a method of `org.varlink.service`; `None` when there is no such method.
pub(super) fn answer(method: &str, parameters: &RawValue) -> Option<Vec<u8>> {
    match method {
        "GetInfo" => Some(reply(&Info {
            vendor: "osctl",
            product: "osctld",
            version: env!("CARGO_PKG_VERSION"),
            url: "",
            interfaces: [SERVICE, INTERFACE],
        })),
        "GetInterfaceDescription" => Some(describe(parameters)),
        _ => None,
    }
}

fn describe(parameters: &RawValue) -> Vec<u8> {
    let Ok(wanted) = serde_json::from_str::<Wanted<'_>>(parameters.get()) else {
        return invalid_parameter("interface");
    };
    match &*wanted.interface {
        SERVICE => reply(&Description {
            description: introspect::SERVICE_DESCRIPTION,
        }),
        INTERFACE => reply(&Description {
            description: &introspect::description(),
        }),
        other => interface_not_found(other),
    }
}

fn reply<T: Serialize>(parameters: &T) -> Vec<u8> {
    wire::encode_reply(parameters, false).unwrap_or_else(|e| wire::encode_error(&e))
}

fn error(name: &str, key: &str, value: &str) -> Vec<u8> {
    let parameters = std::collections::BTreeMap::from([(key, value)]);
    wire::encode_foreign_error(&format!("{SERVICE}.{name}"), &parameters)
}

/// No such interface.
pub(super) fn interface_not_found(interface: &str) -> Vec<u8> {
    error("InterfaceNotFound", "interface", interface)
}

/// No such method; `method` is its full name.
pub(super) fn method_not_found(method: &str) -> Vec<u8> {
    error("MethodNotFound", "method", method)
}

/// A parameter is missing or can't be.
pub(super) fn invalid_parameter(parameter: &str) -> Vec<u8> {
    error("InvalidParameter", "parameter", parameter)
}

/// The method replies many times and was not called so.
pub(super) fn expected_more() -> Vec<u8> {
    let none = std::collections::BTreeMap::<&str, &str>::new();
    wire::encode_foreign_error(&format!("{SERVICE}.ExpectedMore"), &none)
}
